//! What follows from a message.

use std::sync::Arc;

use tuirealm::terminal::TerminalAdapter;

use super::{Ending, Id, Model, Msg, Screen, Step, focus::Hears};
use crate::{
    components::{
        confirm::Confirm, detail::Detail, filter_line::FilterLine, footer::Footer, help::Help,
        key_detail::KeyDetail, key_table::KeyTable, trace_list::TraceList,
    },
    feed::{Action, Wish},
    filter::Filter,
    paint::Tone,
    row::Row,
};

impl<T: TerminalAdapter> Model<T> {
    /// Carries a message out.
    pub(super) fn update(&mut self, message: Msg) {
        self.redraw = true;
        match message {
            Msg::Ask(question) => {
                self.pop_up(Id::Confirm, Confirm::new(self.theme, question), &[]);
            }
            Msg::Close => self.close(),
            Msg::Confirmed(action) => {
                self.close();
                self.say(Tone::Dim, waiting_for(&action).to_owned());
                self.ask(Wish::Act(action));
            }
            Msg::Detail(row) => self.detail(row),
            Msg::EditFilter => {
                let typed = self.list().map(|list| list.filter().typed()).unwrap_or_default();
                self.pop_up(Id::FilterLine, FilterLine::new(self.theme, &typed), &[]);
            }
            Msg::End(signal) => self.next = Step::End(Ending::Signal(signal)),
            Msg::Export => self.export(),
            Msg::FilterTyped(typed) => self.filter(&typed),
            Msg::FilterUndone(before) => {
                self.filter(&before);
                self.close();
            }
            Msg::Help => self.pop_up(Id::Help, Help::new(self.theme, self.screen), &[]),
            Msg::Quit => self.next = Step::End(Ending::Quit),
            Msg::Redraw => {}
            Msg::Say(text) => self.say(Tone::Dim, text),
            Msg::Selected(key) => {
                if let Some(detail) = self.panel::<KeyDetail>(Id::KeyDetail) {
                    detail.select(key);
                }
            }
            Msg::Stop => self.next = Step::Stop,
            Msg::Switch => self.switch(),
            Msg::Wish(wish) => self.ask(wish),
        }
    }

    /// Hands a wish over; says so when that is not possible.
    pub(super) fn ask(&mut self, wish: Wish) {
        if !self.desk.ask(wish) {
            self.say(Tone::Warn, "still busy with what was asked before; try again".to_owned());
        }
    }

    fn say(&mut self, tone: Tone, text: String) {
        if let Some(footer) = self.panel::<Footer>(Id::Footer) {
            footer.say(tone, text);
        }
    }

    fn list(&mut self) -> Option<&mut TraceList> {
        self.panel(Id::TraceList)
    }

    fn filter(&mut self, typed: &str) {
        if let Some(list) = self.list() {
            list.set_filter(Filter::parse(typed));
        }
    }

    fn detail(&mut self, row: Arc<Row>) {
        let names = self.list().map(|list| list.names().clone()).unwrap_or_default();
        let seq = row.seq;
        let explained = row.attempt().is_some();
        let detail = Detail::new(self.theme, row, names);
        self.pop_up(Id::Detail, detail, &[Hears::Answer]);
        if explained {
            self.ask(Wish::Explain(seq));
        }
    }

    fn export(&mut self) {
        let Some(list) = self.list() else { return };
        let (lines, by) = (list.shown(), list.filter().typed());
        if lines.is_empty() {
            self.say(Tone::Dim, "there is nothing to export".to_owned());
            return;
        }
        let by = (!by.is_empty()).then_some(by);
        self.ask(Wish::Export { lines, by });
    }

    /// Shows the other screen; what stands in front of this one is closed.
    fn switch(&mut self) {
        while self.popup().is_some() {
            self.close();
        }
        self.screen = match self.screen {
            Screen::Top => Screen::Trace,
            Screen::Trace => Screen::Top,
        };
        let screen = self.screen;
        if let Some(footer) = self.panel::<Footer>(Id::Footer) {
            footer.set_screen(screen);
        }
        let selected = self.panel::<KeyTable>(Id::KeyTable).and_then(|table| table.current());
        if let Some(key) = selected.map(|key| key.key.clone()) {
            self.update(Msg::Selected(key));
        }
        self.focus_screen();
    }
}

fn waiting_for(action: &Action) -> &'static str {
    match action {
        Action::Test { .. } => "asking the provider …",
        _ => "…",
    }
}
