//! The whole program on a terminal in memory.

mod screens;

use std::sync::{
    Arc,
    mpsc::{Receiver, Sender, channel},
};

use tuirealm::{
    event::{Event, Key, KeyEvent, KeyModifiers},
    listener::{EventListenerCfg, Poll, PortResult},
    ratatui::layout::Size,
    terminal::{TerminalAdapter as _, TestTerminalAdapter},
    testing::buffer_to_string,
};

use super::*;
use crate::samples::{at, proof, resting, rows, status};

struct Told(Sender<Wish>);

impl Desk for Told {
    fn ask(&self, wish: Wish) -> bool {
        self.0.send(wish).is_ok()
    }
}

/// Nothing comes by itself.
struct Silence;

impl Poll<UserEvent> for Silence {
    fn poll(&mut self) -> PortResult<Option<Event<UserEvent>>> {
        Ok(None)
    }
}

struct Whole {
    model: Model<TestTerminalAdapter>,
    wishes: Receiver<Wish>,
    events: Sender<Event<UserEvent>>,
}

struct Script(Receiver<Event<UserEvent>>);

impl Poll<UserEvent> for Script {
    fn poll(&mut self) -> PortResult<Option<Event<UserEvent>>> {
        Ok(self.0.try_recv().ok())
    }
}

impl Whole {
    fn new(screen: Screen, (width, height): (u16, u16), theme: Theme) -> Self {
        let (tell, wishes) = channel();
        let (events, script) = channel();
        let listener = EventListenerCfg::default()
            .add_port(Box::new(Script(script)), Duration::from_millis(1), 64)
            .add_port(Box::new(Silence), Duration::from_millis(1), 1);
        let terminal = TestTerminalAdapter::new(Size { width, height }).unwrap();
        let shown = (screen, Filter::default());
        let mut model = Model::new(listener, terminal, Box::new(Told(tell)), theme, shown);
        model.step();
        Self { model, wishes, events }
    }

    fn give(&self, event: UserEvent) {
        self.events.send(Event::User(event)).unwrap();
    }

    fn fill(&self, status: Status) {
        self.give(UserEvent::Clock(at(4_000)));
        self.give(UserEvent::Status(Arc::new(status)));
        self.give(UserEvent::Proof(Arc::new(proof(200, 0))));
        self.give(UserEvent::Rows(Arc::new(Rows(rows(), 0))));
    }

    fn press(&self, code: Key) {
        self.events.send(Event::Keyboard(KeyEvent::from(code))).unwrap();
    }

    fn picture(&self) -> String {
        buffer_to_string(self.model.terminal.raw().backend().buffer())
    }

    /// Steps until the picture is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..400 {
            self.model.step();
            let picture = self.picture();
            if wanted(&picture) {
                return picture;
            }
        }
        panic!("{what} does not come:\n{}", self.picture());
    }
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 60);

#[test]
fn one_screen_says_who_served_who_is_blocked_and_whether_it_is_proven() {
    for size in [(80, 30), LARGE] {
        let mut whole = Whole::new(Screen::Trace, size, Theme::default());
        whole.fill(status());
        let picture = whole.until("the last request", |it| it.contains("turn 12 → echo"));
        for part in [
            "ROTATION PROVEN  200 of 200 turns in order, confidence 99.99 %",
            "blocked, back in 31s: rate limited",
            "blocked, needs you: auth failed",
            "▶ echo",
            "rate_limited 429",
            "╭",
            "╰",
            "upstream_timeout",
        ] {
            assert!(picture.contains(part), "{part}:\n{picture}");
        }
        assert!(picture.lines().all(|line| line.chars().count() <= usize::from(size.0)));
    }
}

#[test]
fn the_keys_show_state_quota_and_totals() {
    for size in [SMALL, LARGE] {
        let mut whole = Whole::new(Screen::Top, size, Theme::default());
        whole.fill(status());
        let picture = whole.until("the keys", |it| it.contains("4 of 7 keys usable"));
        for part in
            ["charlie", "blocked", "31s", "needs you", "disabled", "60%", "5h quota", "family"]
        {
            assert!(picture.contains(part), "{part}:\n{picture}");
        }
    }
}

#[test]
fn without_a_proxy_the_past_is_shown_and_said() {
    let mut whole = Whole::new(Screen::Trace, SMALL, Theme::default());
    whole.fill(resting());
    let picture = whole.until("the past", |it| it.contains("turn 12"));
    assert!(picture.contains("NO PROXY RUNS: kmi serve starts one"), "{picture}");
}

#[test]
fn without_colours_nothing_is_coloured() {
    use tuirealm::ratatui::style::Color;
    for (theme, colored) in [(Theme::default(), false), (Theme { colors: true }, true)] {
        let mut whole = Whole::new(Screen::Trace, SMALL, theme);
        whole.fill(status());
        whole.until("the last request", |it| it.contains("turn 12"));
        let buffer = whole.model.terminal.raw().backend().buffer().clone();
        let any = buffer.content.iter().any(|it| (it.fg, it.bg) != (Color::Reset, Color::Reset));
        assert_eq!(any, colored);
    }
}

#[test]
fn nothing_is_done_without_a_confirmation() {
    let mut whole = Whole::new(Screen::Top, SMALL, Theme::default());
    whole.fill(status());
    whole.until("the keys", |it| it.contains("4 of 7 keys usable"));
    assert_eq!(whole.wishes.try_iter().collect::<Vec<_>>(), [Wish::Page { before: None }]);
    whole.press(Key::Char('d'));
    whole.until("the question", |it| it.contains("Disable alpha?"));
    whole.press(Key::Char('n'));
    whole.until("its end", |it| !it.contains("Disable alpha?"));
    whole.press(Key::Char('m'));
    whole.until("the question", |it| it.contains("Switch automatic rotation off?"));
    whole.press(Key::Char('y'));
    whole.until("its end", |it| !it.contains("rotation off?"));
    let wish = Wish::Act(Action::Mode(kmi_core::state::Mode::Manual));
    assert_eq!(whole.wishes.try_iter().collect::<Vec<_>>(), [wish]);
}

#[test]
fn letters_are_letters_while_a_filter_is_typed() {
    let mut whole = Whole::new(Screen::Trace, SMALL, Theme::default());
    whole.fill(status());
    whole.until("the list", |it| it.contains("turn 12"));
    for c in "/key:echoq?".chars() {
        whole.press(Key::Char(c));
    }
    whole.until("the filter", |it| it.contains("filter: key:echoq?"));
    whole.press(Key::Backspace);
    whole.press(Key::Backspace);
    whole.press(Key::Enter);
    whole.until("two lines", |it| it.contains("2 of 12 lines: key:echo"));
}

#[test]
fn help_opens_and_closes_and_the_detail_says_why() {
    let mut whole = Whole::new(Screen::Trace, SMALL, Theme::default());
    whole.fill(status());
    whole.until("the list", |it| it.contains("turn 12"));
    whole.press(Key::Char('?'));
    whole.until("help", |it| it.contains("? closes"));
    whole.press(Key::Char('?'));
    whole.until("no help", |it| !it.contains("? closes"));
    whole.press(Key::Enter);
    whole.until("the detail", |it| it.contains("Why this key"));
    let text = "turn 12: echo, in order".to_owned();
    whole.give(UserEvent::Answer(Arc::new(Answer::Explained { seq: 12, text })));
    whole.until("the reason", |it| it.contains("echo, in order"));
    whole.press(Key::Esc);
    whole.until("no detail", |it| !it.contains("Why this key"));
}

#[test]
fn it_ends_by_q_and_ctrl_c() {
    let ends = |event: Event<UserEvent>| {
        let mut whole = Whole::new(Screen::Trace, SMALL, Theme::default());
        whole.events.send(event).unwrap();
        (0..200).map(|_| whole.model.step()).find(|step| *step != Step::Go)
    };
    assert_eq!(ends(Event::Keyboard(Key::Char('q').into())), Some(Step::End(Ending::Quit)));
    let ctrl_c = KeyEvent::new(Key::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(ends(Event::Keyboard(ctrl_c)), Some(Step::End(Ending::Signal(2))));
    let ctrl_z = KeyEvent::new(Key::Char('z'), KeyModifiers::CONTROL);
    assert_eq!(ends(Event::Keyboard(ctrl_z)), Some(Step::Stop));
}

#[test]
fn every_size_is_drawn() {
    for width in [1, 40, 100, 140, 300] {
        for height in [1, 10, 15, 100] {
            for screen in [Screen::Trace, Screen::Top] {
                let mut whole = Whole::new(screen, (width, height), Theme { colors: true });
                whole.fill(status());
                whole.press(Key::Char('?'));
                whole.until("anything", |_| true);
            }
        }
    }
}
