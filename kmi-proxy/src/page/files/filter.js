// Which requests are shown: words that must all occur, some with a field's name in front, as in
// `key:work outcome:quota k2`. The same as in the terminal.

const FIELDS = ["key", "model", "outcome", "session"];

/** What was typed, as terms; whatever is no field is text. */
export function parse(typed) {
  return typed.split(/\s+/).map((word) => {
    const [, name, value] = /^([a-z]+):(.*)$/s.exec(word) ?? [];
    const field = FIELDS.includes(name) ? name : "text";
    return { field, value: (field === "text" ? word : value).toLowerCase() };
  }).filter((term) => term.value !== "");
}

/** As it would be typed. */
export function typed(terms) {
  return terms.map(({ field, value }) => (field === "text" ? value : `${field}:${value}`)).join(" ");
}

/** The terms with one value for a field, or without any. */
export function withField(terms, field, value) {
  const others = terms.filter((term) => term.field !== field);
  // A blank would end the word when it is read again.
  return value === "" || /\s/.test(value) ? others : [...others, { field, value: value.toLowerCase() }];
}

/** What a key is filtered by: its label or, as a blank would end the word, its id. */
export function keyWord(id, label) {
  return /\s/.test(label) ? id : label;
}

/** The value that a field is filtered by. */
export function valueOf(terms, field) {
  return terms.find((term) => term.field === field)?.value ?? "";
}

/** Whether an entry is shown. */
export function wants(terms, entry) {
  return terms.every((term) => {
    if (!entry.attempts) return term.field === "text" && entry.text.toLowerCase().includes(term.value);
    return term.field === "text" ? haystack(entry).includes(term.value) : entry.attempts.some((it) => holds(it, term));
  });
}

function holds(attempt, { field, value }) {
  const is = (text) => (text ?? "").toLowerCase();
  switch (field) {
    case "key": return is(attempt.label) === value || is(attempt.key) === value;
    case "outcome": return is(attempt.outcome).startsWith(value);
    case "model": return is(attempt.model).includes(value);
    default: return is(attempt.session_id).includes(value);
  }
}

function haystack(entry) {
  entry.haystack ??= entry.attempts.flatMap((it) => [
    it.label, it.key, it.outcome, it.model, it.path, it.request_id, it.session_id, it.upstream,
    it.error, it.status, it.turn, it.method,
  ]).filter((it) => it !== null && it !== undefined).join("\n").toLowerCase();
  return entry.haystack;
}
