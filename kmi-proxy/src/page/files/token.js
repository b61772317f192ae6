// The token: comes behind the `#` of the address, leaves the address bar at once, and stays in this
// tab until it is closed.

const PLACE = "kmi-token";

/** The token of this tab; null when it has none. */
export function take() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given !== null) {
    history.replaceState(null, "", location.pathname);
    if (/^[0-9a-f]{64}$/.test(given)) {
      keep(given);
      return given;
    }
  }
  try {
    return sessionStorage.getItem(PLACE);
  } catch {
    return null; // Storage may be switched off; then a reload needs the address again.
  }
}

/** The token was refused: it is of no use any more. */
export function forget() {
  keep(null);
}

function keep(token) {
  try {
    if (token === null) sessionStorage.removeItem(PLACE);
    else sessionStorage.setItem(PLACE, token);
  } catch {
    // As above.
  }
}
