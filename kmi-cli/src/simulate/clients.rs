//! Who asks: clients with sessions, whose prompts grow and are cached by the accounts they went to.

use super::scenario::Load;

/// A client, in one session at a time.
#[derive(Debug)]
pub(super) struct Client {
    /// The key that its session was given last, under the policy `session`.
    pub(super) key: Option<usize>,
    session: u64,
    /// Requests of the session that were answered.
    answered: u32,
    /// By account: what its cache holds of the session, and until when.
    caches: Vec<(u64, i64)>,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    load: Load,
    accounts: usize,
    all: Vec<Client>,
    sessions: u64,
}

/// What a request costs in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    /// Prompt tokens that came out of the account's cache.
    pub(super) cached: u64,
}

impl Clients {
    pub(super) fn new(load: &Load, accounts: usize) -> Self {
        Self { load: load.clone(), accounts, all: Vec::new(), sessions: 0 }
    }

    /// One more client; its number.
    pub(super) fn join(&mut self) -> usize {
        self.sessions += 1;
        self.all.push(Client {
            key: None,
            session: self.sessions,
            answered: 0,
            caches: vec![(0, 0); self.accounts],
        });
        self.all.len() - 1
    }

    pub(super) fn get(&self, client: usize) -> &Client {
        &self.all[client]
    }

    pub(super) fn get_mut(&mut self, client: usize) -> &mut Client {
        &mut self.all[client]
    }

    /// The number of sessions so far.
    pub(super) fn sessions(&self) -> u64 {
        self.sessions
    }

    /// What a client's next request costs at an account.
    pub(super) fn tokens(&self, client: usize, account: usize, now: i64) -> Tokens {
        let client = &self.all[client];
        let prompt = self.load.prompt_tokens + u64::from(client.answered) * self.load.prompt_growth;
        let (held, until) = client.caches[account];
        let cached = if now < until { held.min(prompt) } else { 0 };
        Tokens { prompt, completion: self.load.completion_tokens, cached }
    }

    /// A request was answered; after the last one of a session its client begins a new one.
    pub(super) fn answered(&mut self, client: usize, account: usize, tokens: Tokens, now: i64) {
        let it = &mut self.all[client];
        it.answered += 1;
        it.caches[account] = (tokens.prompt + tokens.completion, now + self.load.cache.0);
        if it.answered >= self.load.session {
            self.sessions += 1;
            (it.key, it.session, it.answered) = (None, self.sessions, 0);
            it.caches.fill((0, 0));
        }
    }
}

impl Client {
    /// The session's name in the trace.
    pub(super) fn session(&self) -> String {
        format!("session-{}", self.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accounts_cache_holds_what_it_saw_last() {
        let load = Load { session: 3, ..Load::default() };
        let mut clients = Clients::new(&load, 2);
        let client = clients.join();
        let first = clients.tokens(client, 0, 0);
        assert_eq!(first, Tokens { prompt: 12_000, completion: 600, cached: 0 });
        clients.answered(client, 0, first, 0);
        let second = clients.tokens(client, 1, 10);
        assert_eq!((second.prompt, second.cached), (13_500, 0), "another account has seen nothing");
        clients.answered(client, 1, second, 10);
        assert_eq!(clients.tokens(client, 0, 20).cached, 12_600);
        assert_eq!(clients.tokens(client, 0, 300_000).cached, 0, "forgotten");
        clients.answered(client, 0, clients.tokens(client, 0, 20), 20);
        let anew = clients.tokens(client, 0, 30);
        assert_eq!((anew.prompt, anew.cached, clients.sessions()), (12_000, 0, 2));
    }
}
