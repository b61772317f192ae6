//! Which key does what: one table for the program, its help and its footer.

use tuirealm::event::{Key, KeyEvent, KeyModifiers};

/// A key and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Binding<C: 'static> {
    /// The keys that do it.
    keys: &'static [Key],
    /// How they are written.
    pub shown: &'static str,
    /// What they do, in few words.
    pub what: &'static str,
    /// What they do.
    command: C,
}

/// What can be done anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    Help,
    Quit,
    Switch,
}

/// Where to go in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

/// What can be done with the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TraceCommand {
    Go(Go),
    Detail,
    Pause,
    Filter,
    Clear,
    SameKey,
    SameOutcome,
    SameModel,
    SameSession,
    Export,
}

/// What can be done with keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopCommand {
    Go(Go),
    Rotate,
    Enable,
    Disable,
    Test,
    Reset,
    Mode,
}

const fn bind<C>(
    keys: &'static [Key],
    shown: &'static str,
    what: &'static str,
    command: C,
) -> Binding<C> {
    Binding { keys, shown, what, command }
}

/// Anywhere.
pub(crate) const GLOBAL: [Binding<Global>; 3] = [
    bind(&[Key::Tab, Key::BackTab], "Tab", "trace or keys", Global::Switch),
    bind(&[Key::Char('?'), Key::Function(1)], "?", "help", Global::Help),
    bind(&[Key::Char('q')], "q", "quit", Global::Quit),
];

/// In the trace.
pub(crate) const TRACE: [Binding<TraceCommand>; 15] = [
    bind(&[Key::Up, Key::Char('k')], "↑ k", "one line up", TraceCommand::Go(Go::Up)),
    bind(&[Key::Down, Key::Char('j')], "↓ j", "one line down", TraceCommand::Go(Go::Down)),
    bind(&[Key::PageUp], "PgUp", "one page back, on into the ledger", TraceCommand::Go(Go::PageUp)),
    bind(&[Key::PageDown], "PgDn", "one page on", TraceCommand::Go(Go::PageDown)),
    bind(
        &[Key::Home, Key::Char('g')],
        "Home g",
        "oldest line at hand",
        TraceCommand::Go(Go::First),
    ),
    bind(
        &[Key::End, Key::Char('G')],
        "End G",
        "newest line, and follow",
        TraceCommand::Go(Go::Last),
    ),
    bind(&[Key::Enter], "Enter", "all about a request, and why this key", TraceCommand::Detail),
    bind(&[Key::Char(' '), Key::Char('p')], "Space p", "pause, go on", TraceCommand::Pause),
    bind(&[Key::Char('/')], "/", "filter", TraceCommand::Filter),
    bind(&[Key::Char('K')], "K", "only the selected line's key", TraceCommand::SameKey),
    bind(&[Key::Char('O')], "O", "only its outcome", TraceCommand::SameOutcome),
    bind(&[Key::Char('M')], "M", "only its model", TraceCommand::SameModel),
    bind(&[Key::Char('S')], "S", "only its session", TraceCommand::SameSession),
    bind(&[Key::Char('c'), Key::Esc], "c Esc", "no filter", TraceCommand::Clear),
    bind(&[Key::Char('e')], "e", "export what is shown to a new file", TraceCommand::Export),
];

/// Among the keys.
pub(crate) const TOP: [Binding<TopCommand>; 12] = [
    bind(&[Key::Up, Key::Char('k')], "↑ k", "one key up", TopCommand::Go(Go::Up)),
    bind(&[Key::Down, Key::Char('j')], "↓ j", "one key down", TopCommand::Go(Go::Down)),
    bind(&[Key::PageUp], "PgUp", "one page back", TopCommand::Go(Go::PageUp)),
    bind(&[Key::PageDown], "PgDn", "one page on", TopCommand::Go(Go::PageDown)),
    bind(&[Key::Home, Key::Char('g')], "Home g", "first key", TopCommand::Go(Go::First)),
    bind(&[Key::End, Key::Char('G')], "End G", "last key", TopCommand::Go(Go::Last)),
    bind(
        &[Key::Char('r'), Key::Enter],
        "r Enter",
        "rotate to this key (manual)",
        TopCommand::Rotate,
    ),
    bind(&[Key::Char('e')], "e", "enable", TopCommand::Enable),
    bind(&[Key::Char('d')], "d", "disable", TopCommand::Disable),
    bind(&[Key::Char('t')], "t", "test: does it work, what is left?", TopCommand::Test),
    bind(&[Key::Char('x')], "x", "end what blocks it now", TopCommand::Reset),
    bind(&[Key::Char('m')], "m", "auto mode on or off", TopCommand::Mode),
];

/// The command of a key press.
pub(crate) fn command<C: Copy>(bindings: &[Binding<C>], event: &KeyEvent) -> Option<C> {
    // Capital letters come with SHIFT or without, depending on the terminal.
    if event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return None;
    }
    let found = bindings.iter().find(|binding| binding.keys.contains(&event.code));
    found.map(|binding| binding.command)
}

/// All keys of a list in two columns of text: for help.
pub(crate) fn written<C>(
    bindings: &[Binding<C>],
) -> impl Iterator<Item = (&'static str, &'static str)> {
    bindings.iter().map(|binding| (binding.shown, binding.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two bindings of one key would make the second one dead.
    #[test]
    fn no_key_does_two_things() {
        fn keys<C>(bindings: &[Binding<C>]) -> Vec<String> {
            let keys = bindings.iter().flat_map(|binding| binding.keys);
            keys.map(|key| format!("{key:?}")).collect()
        }
        for list in [keys(&TRACE), keys(&TOP)] {
            let mut all: Vec<String> = list.into_iter().chain(keys(&GLOBAL)).collect();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count);
        }
    }

    #[test]
    fn capital_letters_count_with_and_without_shift() {
        for modifiers in [KeyModifiers::NONE, KeyModifiers::SHIFT] {
            let press = KeyEvent::new(Key::Char('G'), modifiers);
            assert_eq!(command(&TRACE, &press), Some(TraceCommand::Go(Go::Last)));
        }
        let press = KeyEvent::new(Key::Char('k'), KeyModifiers::CONTROL);
        assert_eq!(command(&TRACE, &press), None);
    }
}
