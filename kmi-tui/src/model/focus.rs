//! Which components there are, who hears what, and who has the keyboard.

use jiff::Timestamp;
use tuirealm::{
    subscription::{EventClause, Sub, SubClause},
    terminal::TerminalAdapter,
};

use super::{Id, Model, Older, Rows, Screen, UserEvent};
use crate::{
    components::{
        Mounted, Panel, footer::Footer, header::Header, key_detail::KeyDetail, key_table::KeyTable,
        listener::Listener, shares::Shares, summary::Summary, trace_list::TraceList,
    },
    feed::{Answer, Status},
    filter::Filter,
};

/// What a panel wants to hear of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hears {
    Answer,
    Clock,
    Older,
    Proof,
    Rows,
    Status,
}

impl Hears {
    /// Only the kind of the event in a clause counts, so its content is empty.
    fn subscription(self) -> Sub<Id, UserEvent> {
        let event = match self {
            Self::Answer => UserEvent::Answer(Answer::Done(String::new()).into()),
            Self::Clock => UserEvent::Clock(Timestamp::UNIX_EPOCH),
            Self::Older => UserEvent::Older(Older::default().into()),
            Self::Proof => UserEvent::Proof(empty_proof().into()),
            Self::Rows => UserEvent::Rows(Rows::default().into()),
            Self::Status => UserEvent::Status(Status::default().into()),
        };
        Sub::new(EventClause::Discriminant(event), SubClause::Always)
    }
}

fn empty_proof() -> kmi_stats::report::Report {
    use kmi_stats::verify::{InFlight, Options, Verifier};
    Verifier::new(Options::default()).report(&InFlight::None)
}

impl<T: TerminalAdapter> Model<T> {
    /// Mounts what is always there and gives the keyboard to the screen.
    pub(super) fn mount(&mut self, filter: Filter) {
        use Hears::{Answer, Clock, Older, Proof, Rows, Status};
        let theme = self.theme;
        let listener = Box::new(Mounted(Listener));
        let _ = self.app.mount(Id::Listener, listener, Listener::subscriptions());
        self.add(Id::Header, Header::new(theme), &[Clock, Status]);
        self.add(Id::Summary, Summary::new(theme), &[Clock, Older, Proof, Rows, Status]);
        self.add(Id::Shares, Shares::new(theme), &[Clock, Older, Proof, Rows, Status]);
        self.add(Id::TraceList, TraceList::new(theme, filter), &[Older, Rows, Status]);
        self.add(Id::KeyTable, KeyTable::new(theme), &[Clock, Status]);
        self.add(Id::KeyDetail, KeyDetail::new(theme), &[Clock, Status]);
        self.add(Id::Footer, Footer::new(theme, self.screen), &[Answer, Clock, Status]);
        self.focus_screen();
    }

    /// Mounts a panel; one that is there already is replaced.
    pub(super) fn add<P: Panel>(&mut self, id: Id, panel: P, hears: &[Hears]) {
        // The component with the keyboard hears everything, and nothing of it twice.
        let hears = hears.iter().map(|it| it.subscription()).collect();
        let _ = self.app.remount(id, Box::new(Mounted(panel)), hears);
    }

    /// Mounts a panel in front of the others; it has the keyboard until it is closed.
    pub(super) fn pop_up<P: Panel>(&mut self, id: Id, panel: P, hears: &[Hears]) {
        self.add(id, panel, hears);
        let _ = self.app.active(&id);
    }

    /// The popup that is in front, if any.
    pub(super) fn popup(&self) -> Option<Id> {
        let popups = [Id::Help, Id::Confirm, Id::Detail, Id::FilterLine];
        popups.into_iter().find(|id| self.app.mounted(id))
    }

    /// Closes the popup in front; the keyboard goes back to who had it.
    pub(super) fn close(&mut self) {
        if let Some(id) = self.popup() {
            let _ = self.app.umount(&id);
        }
        match self.popup() {
            Some(id) => drop(self.app.active(&id)),
            None => self.focus_screen(),
        }
    }

    /// The keyboard goes to what the screen is about.
    pub(super) fn focus_screen(&mut self) {
        let id = match self.screen {
            Screen::Top => Id::KeyTable,
            Screen::Trace => Id::TraceList,
        };
        let _ = self.app.active(&id);
    }

    /// A mounted panel.
    pub(super) fn panel<P: Panel>(&mut self, id: Id) -> Option<&mut P> {
        let component = self.app.get_component_mut(&id)?;
        let mounted = component.as_any_mut().downcast_mut::<Mounted<P>>()?;
        Some(&mut mounted.0)
    }
}
