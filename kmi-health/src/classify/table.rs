//! The table of WIRE section 3: how providers signal errors, and what each error means.

use crate::{UpstreamKind, kimi_error::KimiError};

use super::QuotaWindow::{self, Day, FiveHours, Month, Unnamed, Week};

/// What an error means, before anything is concluded from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The provider does not know the key: revoked, mistyped, or of another site.
    UnknownKey,
    /// A 401 in words that nobody knows.
    UnclearRefusal,
    /// A 403 of a type that is about keys, in words that nobody knows.
    OddRefusal,
    /// The account may not be used from this address.
    NotFromHere,
    /// The account is closed for good.
    AccountClosed,
    /// The account is closed for a while.
    AccountPaused,
    /// The membership could not be verified.
    Membership,
    /// A quota window is spent.
    Spent(QuotaWindow),
    /// The balance is spent.
    NoMoney,
    /// Too many requests at once.
    TooManyAtOnce,
    /// Too many requests in a short time.
    TooFast,
    /// Too many tokens in this minute.
    TokensPerMinute,
    /// No such model, or not in this key's plan.
    NoSuchModel,
    /// The engine is overloaded.
    Engine,
    /// The server asks to come again: surely not carried out.
    Unavailable,
    /// The server failed; perhaps after it had carried the request out.
    Server,
    /// The request's own fault.
    Request,
    /// The client went away.
    ClientLeft,
}

/// One row: of which family, statuses, types or codes, words in the message (in lower case), and
/// what it means. An empty list fits everything; of a filled one, one entry has to fit.
#[derive(Clone, Copy)]
pub(super) struct Row(
    pub(super) &'static [UpstreamKind],
    pub(super) &'static [u16],
    pub(super) &'static [&'static str],
    pub(super) &'static [&'static str],
    pub(super) Meaning,
);

const ANY: &[UpstreamKind] = &[];
const CODE: &[UpstreamKind] = &[UpstreamKind::KimiCode];
const OTHERS: &[UpstreamKind] = &[UpstreamKind::OpenPlatform, UpstreamKind::OpenAi];

/// Top down, the first row that fits decides: words before types, types before the bare status.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = {
    use Meaning::{
        AccountClosed, AccountPaused, ClientLeft, Engine, Membership, NoMoney, NoSuchModel, NotFromHere, OddRefusal,
        Request, Spent, TokensPerMinute, TooFast, TooManyAtOnce, Unavailable, UnclearRefusal, UnknownKey,
    };
    &[
        // Never about a key, whatever the words: bodies of these statuses may quote the prompt.
        Row(ANY,    &[400, 405, 406, 408, 409, 410, 411, 413, 414, 415, 416, 417, 422, 424, 431, 451], &[], &[], Request),
        Row(ANY,    &[499],      &[], &[],                                                       ClientLeft),

        // 401: the key itself.
        Row(ANY,    &[401],      &[], &["appears to be invalid or may have expired"],            UnknownKey),
        Row(ANY,    &[401],      &[], &["invalid authentication"],                               UnknownKey),
        Row(ANY,    &[401],      &[], &["incorrect api key", "invalid api key", "invalid x-api-key"], UnknownKey),
        Row(ANY,    &[401],      &["account_deactivated"], &[],                                  AccountClosed),
        Row(ANY,    &[401],      &["invalid_authentication_error", "incorrect_api_key_error",
                                   "authentication_error", "invalid_api_key"], &[],              UnknownKey),
        Row(ANY,    &[401],      &[], &[],                                                       UnclearRefusal),

        // 402: the membership, or money.
        Row(ANY,    &[402],      &[], &["insufficient balance", "insufficient credit", "recharge", "in arrears"], NoMoney),
        Row(OTHERS, &[402],      &[], &[],                                                       NoMoney),
        Row(ANY,    &[402],      &[], &[],                                                       Membership),

        // 403: the client first, because every key fails alike then.
        Row(ANY,    &[403],      &[], &["only available for coding agents"],                     Request),
        Row(ANY,    &[403],      &[], &["security risk", "security_risk"],                       Request),
        Row(ANY,    &[403],      &[], &["api you are accessing is not open"],                    Request),
        Row(ANY,    &[403],      &[], &["not allowed to get other user info"],                   Request),
        Row(ANY,    &[403],      &["unsupported_country_region_territory"], &[],                 Request),
        Row(ANY,    &[403],      &[], &["ip is not allowed"],                                    NotFromHere),
        Row(ANY,    &[403],      &[], &["concurrent request limit"],                             TooManyAtOnce),
        Row(ANY,    &[403],      &[], &["weekly (7-day) usage limit", "weekly usage limit", "7-day usage limit"], Spent(Week)),
        Row(ANY,    &[403],      &[], &["monthly usage limit"],                                  Spent(Month)),
        Row(ANY,    &[403],      &[], &["usage limit for this billing cycle", "reached your usage limit"], Spent(Unnamed)),
        Row(ANY,    &[403],      &["access_terminated_error", "permission_error"], &["access terminated"], AccountClosed),
        Row(ANY,    &[403],      &[], &["access terminated"],                                    OddRefusal),
        Row(OTHERS, &[403],      &[], &["is not active", "insufficient balance", "check your plan and billing"], NoMoney),
        Row(CODE,   &[403],      &["exceeded_current_quota_error"], &[],                         Spent(Unnamed)),
        Row(OTHERS, &[403],      &["exceeded_current_quota_error", "insufficient_quota"], &[],   NoMoney),
        Row(ANY,    &[403],      &["access_terminated_error", "permission_denied_error",
                                   "permission_error"], &[],                                     OddRefusal),
        Row(ANY,    &[403],      &[], &[],                                                       Request),

        // 404: the model may be in another key's plan; a wrong path is in nobody's.
        Row(ANY,    &[404],      &[], &["not found the model"],                                  NoSuchModel),
        Row(ANY,    &[404],      &["model_not_found"], &[],                                      NoSuchModel),
        Row(ANY,    &[404],      &[], &[],                                                       Request),

        // 429: engine, quota, money and haste share it. The engine first: no key is to blame.
        Row(ANY,    &[429],      &[], &["engine is currently overloaded"],                       Engine),
        Row(ANY,    &[429],      &["engine_overloaded_error", "overloaded_error"], &[],          Engine),
        Row(ANY,    &[429],      &[], &["usage limit for this period"],                          Spent(FiveHours)),
        Row(ANY,    &[429],      &[], &["weekly (7-day) usage limit", "weekly usage limit"],     Spent(Week)),
        Row(ANY,    &[429],      &[], &["monthly usage limit"],                                  Spent(Month)),
        Row(ANY,    &[429],      &[], &["reached your usage limit"],                             Spent(Unnamed)),
        Row(ANY,    &[429],      &[], &["insufficient balance", "please recharge", "in arrears", "check your account balance",
                                        "check your plan and billing"],                          NoMoney),
        Row(ANY,    &[429],      &[], &["max concurrency", "concurrent request limit"],          TooManyAtOnce),
        Row(ANY,    &[429],      &[], &["tpd rate limit", "tokens per day"],                     Spent(Day)),
        Row(ANY,    &[429],      &[], &["tpm rate limit", "tokens per min"],                     TokensPerMinute),
        Row(ANY,    &[429],      &[], &["max rpm", "receiving too many requests", "requests per min"], TooFast),
        Row(CODE,   &[429],      &["exceeded_current_quota_error"], &[],                         Spent(Unnamed)),
        Row(OTHERS, &[429],      &["exceeded_current_quota_error", "insufficient_quota"], &[],   NoMoney),
        Row(ANY,    &[429],      &[], &[],                                                       TooFast),

        // 5xx: the server, unless it hides what it thinks of the account.
        Row(CODE,   &[500],      &[], &["账号已被暂时禁用", "账号已被暂时禁言"],                   AccountPaused),
        Row(CODE,   &[500],      &[], &["账号已被禁用", "账号已被禁言", "未找到该账号"],           AccountClosed),
        Row(ANY,    &[503, 529], &[], &["overload"],                                             Engine),
        Row(ANY,    &[503, 529], &[], &[],                                                       Unavailable),
    ]
};

/// A row of the table, as tests outside of this crate see it: with it every row can be driven
/// through a whole proxy, also one that is added tomorrow.
#[derive(Debug, Clone, Copy)]
pub struct RowView {
    /// The families that it is about; empty: all.
    pub kinds: &'static [UpstreamKind],
    /// The statuses.
    pub statuses: &'static [u16],
    /// Types or codes of which one has to fit; empty: any.
    pub types: &'static [&'static str],
    /// Words of which one has to stand in the message, in lower case; empty: any.
    pub words: &'static [&'static str],
    /// What it means.
    pub meaning: Meaning,
}

/// Every row, top down: the first one that fits decides.
pub fn rows() -> impl ExactSizeIterator<Item = RowView> {
    TABLE.iter().map(|Row(kinds, statuses, types, words, meaning)| RowView {
        kinds,
        statuses,
        types,
        words,
        meaning: *meaning,
    })
}

/// What an error means whose row was found; a status without a row is the request's own fault below
/// 500 and the server's from there on.
pub(super) fn meaning(table: &[Row], row: Option<usize>, status: u16) -> Meaning {
    match row {
        Some(row) => table[row].4,
        None if status < 500 => Meaning::Request,
        None => Meaning::Server,
    }
}

/// The first row that fits.
pub(super) fn row(
    table: &[Row],
    kind: UpstreamKind,
    status: u16,
    error: &KimiError,
) -> Option<usize> {
    let message = error.message.to_lowercase();
    table.iter().position(|Row(kinds, statuses, types, words, _)| {
        (kinds.is_empty() || kinds.contains(&kind))
            && statuses.contains(&status)
            && (types.is_empty() || types.iter().any(|word| error.is(word)))
            && (words.is_empty() || words.iter().any(|words| message.contains(words)))
    })
}
