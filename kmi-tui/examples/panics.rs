//! The live view on a feed without news and with a fault: looking for older lines (`g`) panics.
//! The terminal is given back nevertheless, and the message can be read (tests/tui.py looks).
//!
//!     cargo run -p kmi-tui --example panics

use std::{cell::Cell, error::Error, sync::mpsc::channel};

use jiff::Timestamp;
use kmi_tui::{
    feed::{Desk, Feed, News, Wish},
    model::Screen,
    screen::{self, Process, Start},
    theme::Theme,
};

struct Silence;

impl Feed for Silence {
    fn news(&mut self) -> News {
        News { now: Timestamp::now(), ..News::default() }
    }
}

/// Takes the first wish, which every start has, and no other.
#[derive(Default)]
struct Faulty {
    asked: Cell<bool>,
}

impl Desk for Faulty {
    fn ask(&self, wish: Wish) -> bool {
        assert!(!self.asked.replace(true), "on purpose: {wish:?}");
        true
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let start = Start { screen: Screen::Trace, filter: String::new(), theme: Theme::default() };
    let (_tell, signals) = channel();
    let process = Process { signals, stop: || {} };
    screen::run(&start, Silence, Box::<Faulty>::default(), &process)?;
    Ok(())
}
