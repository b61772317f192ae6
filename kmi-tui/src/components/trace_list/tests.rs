use kmi_core::outcome::Outcome;
use tuirealm::event::{Event, Key, KeyEvent};

use super::*;
use crate::{
    model::Rows,
    samples::{attempt, row, rows},
};

fn list() -> TraceList {
    let mut list = TraceList::new(Theme::default(), Filter::default());
    give(&mut list, rows());
    list
}

fn give(list: &mut TraceList, rows: Vec<Arc<Row>>) {
    list.on(&Event::User(UserEvent::Rows(Arc::new(Rows(rows, 0)))));
}

fn press(list: &mut TraceList, key: Key) -> Option<Msg> {
    list.on(&Event::Keyboard(KeyEvent::from(key)))
}

fn one(seq: u64) -> Vec<Arc<Row>> {
    vec![row(seq, attempt(seq, "work", Outcome::Ok))]
}

#[test]
fn a_pause_holds_new_lines_back() {
    let mut list = list();
    press(&mut list, Key::Char(' '));
    give(&mut list, one(13));
    assert_eq!((list.log.len(), list.held.len()), (12, 1));
    press(&mut list, Key::Char(' '));
    assert_eq!((list.log.len(), list.held.len()), (13, 0));
}

#[test]
fn the_selected_line_stays_while_new_ones_come() {
    let mut list = list();
    press(&mut list, Key::Up);
    assert_eq!(list.current().unwrap().seq, 11);
    give(&mut list, one(13));
    assert_eq!(list.current().unwrap().seq, 11);
    press(&mut list, Key::End);
    assert_eq!(list.current().unwrap().seq, 13);
}

#[test]
fn a_line_that_a_page_brought_is_not_shown_twice() {
    let mut list = TraceList::new(Theme::default(), Filter::default());
    let older = Older { before: None, rows: rows() };
    list.on(&Event::User(UserEvent::Older(Arc::new(older))));
    give(&mut list, rows());
    assert_eq!(list.log.len(), 12);
}

#[test]
fn the_start_of_the_list_asks_for_older_lines_once() {
    let mut list = list();
    let page = Some(Msg::Wish(Wish::Page { before: Some(1) }));
    assert_eq!(press(&mut list, Key::Home), page);
    assert_eq!(press(&mut list, Key::Up), Some(Msg::Redraw), "it is on its way");
    list.on(&Event::User(UserEvent::Older(Arc::new(Older { before: Some(1), rows: Vec::new() }))));
    assert_eq!(press(&mut list, Key::Up), Some(Msg::Redraw), "there is nothing older");
}

#[test]
fn a_long_pause_is_left_by_loading_the_newest_lines() {
    let mut list = list();
    press(&mut list, Key::Char('p'));
    for seq in 13..=13 + CAPACITY as u64 {
        give(&mut list, one(seq));
    }
    assert!(list.detached && list.held.is_empty());
    assert_eq!(press(&mut list, Key::End), Some(Msg::Wish(Wish::Page { before: None })));
    assert!(!list.detached);
}

#[test]
fn only_what_fits_the_filter_is_exported() {
    let mut list = list();
    list.set_filter(Filter::parse("outcome:rate_limited"));
    assert_eq!(list.shown(), ["line 3".into()]);
    press(&mut list, Key::Char('c'));
    assert_eq!(list.shown().len(), 12);
    press(&mut list, Key::Char('K'));
    assert_eq!(list.filter().typed(), "key:echo");
}
