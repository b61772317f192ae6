//! The keys and how they fare: what `kmi` and `kmi status` print.

use comfy_table::{Cell, ColumnConstraint, Table};
use jiff::{SignedDuration, Timestamp};
use kmi_core::{
    display::visible,
    snapshot::{KeyRow, QuotaRow, Snapshot},
    state::{KeyState, Mode, Reason},
};

use crate::{
    bars::{cut, right},
    key_words::{latency, left, left_tone},
    paint::{Paint, Tone, cell, trimmed, wrap},
    quantity::{ago, count, countdown, duration},
};

/// The whole status: how keys are chosen, the proxy, and a table of the keys for each upstream.
pub fn status_table(snapshot: &Snapshot, now: Timestamp, width: u16, paint: Paint) -> String {
    let mut parts = vec![heading(snapshot, width, paint)];
    if snapshot.keys.is_empty() {
        parts.push(paint.text(Tone::Warn, "no keys yet: add one with `kmi keys add LABEL`"));
    }
    let upstreams: Vec<&[KeyRow]> =
        snapshot.keys.chunk_by(|a, b| a.upstream == b.upstream).collect();
    for keys in &upstreams {
        let table = keys_table(keys, snapshot, now, width, paint);
        parts.push(match keys.first().filter(|_| upstreams.len() > 1) {
            Some(first) => {
                format!("{}\n{table}", paint.text(Tone::Strong, &visible(&first.upstream)))
            }
            None => table,
        });
    }
    parts.join("\n\n")
}

fn heading(snapshot: &Snapshot, width: u16, paint: Paint) -> String {
    let proxy = &snapshot.proxy;
    let mode = match snapshot.mode {
        Mode::Auto => format!("auto ({})", snapshot.policy.as_str()),
        Mode::Manual => match &snapshot.active_key {
            Some(label) => format!("manual, active key {}", visible(label)),
            None => "manual, no active key".to_owned(),
        },
    };
    let mut lines = vec![format!("mode   {}", paint.text(Tone::Strong, &mode))];
    lines.push(if proxy.running {
        let url = proxy.base_url.as_deref().or(proxy.listen.as_deref()).unwrap_or("running");
        let pid = proxy.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        let up = proxy.uptime_s.and_then(|s| i64::try_from(s).ok()).map(SignedDuration::from_secs);
        let up = up.map(|up| format!(", up {}", duration(up))).unwrap_or_default();
        let text = format!("{}{pid}{up}", visible(url));
        format!("proxy  {}", wrap(&text, width.saturating_sub(7), "       "))
    } else {
        format!("proxy  {}", paint.text(Tone::Warn, "not running (start it with `kmi serve`)"))
    });
    if snapshot.fleet.state != "off" {
        let fleet = &snapshot.fleet;
        let tone = if fleet.state == "shared" { Tone::Good } else { Tone::Warn };
        let state = paint.text(tone, &visible(&fleet.state));
        lines.push(format!("fleet  {state}, {} nodes", fleet.nodes));
    }
    lines.join("\n")
}

fn keys_table(
    keys: &[KeyRow],
    snapshot: &Snapshot,
    now: Timestamp,
    width: u16,
    paint: Paint,
) -> String {
    let mut table = paint.table(width);
    let active = snapshot.active_key.as_deref().filter(|_| snapshot.mode == Mode::Manual);
    let label = if active.is_some() { "  label" } else { "label" };
    let header = [label, "key", "state", "used", "reqs", "errs", "busy", "p50/p95", "quota"];
    table.set_header(header.map(|it| cell(Tone::Dim, it)));
    for key in keys {
        let mark = match active {
            Some(active) if active == key.label => "* ",
            Some(_) => "  ",
            None => "",
        };
        table.add_row([
            cell(Tone::Plain, cut(&format!("{mark}{}", visible(&key.label)), 15)),
            cell(Tone::Dim, visible(&key.masked)),
            state(key, now),
            cell(Tone::Plain, key.last_used.map(|used| ago(used, now)).unwrap_or_default()),
            cell(Tone::Plain, count(key.requests)),
            cell(if key.errors > 0 { Tone::Warn } else { Tone::Plain }, count(key.errors)),
            cell(Tone::Plain, count(key.in_flight)),
            cell(Tone::Plain, latency(key)),
            quota(&key.quota),
        ]);
    }
    right(&mut table, &[3, 4, 5, 6, 7, 8]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    // The reasons are one word each and are not to be broken; in a narrow place the numbers go.
    constrain(&mut table, &[2], ColumnConstraint::ContentWidth);
    if width < 78 {
        constrain(&mut table, &[6, 7], ColumnConstraint::Hidden);
    }
    if width < 60 {
        constrain(&mut table, &[3, 4, 5], ColumnConstraint::Hidden);
    }
    trimmed(&table)
}

fn constrain(table: &mut Table, columns: &[usize], constraint: ColumnConstraint) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_constraint(constraint);
        }
    }
}

/// The state and for how long it lasts; below, why.
fn state(key: &KeyRow, now: Timestamp) -> Cell {
    let tone = match key.state {
        KeyState::Healthy => Tone::Good,
        KeyState::Warn => Tone::Warn,
        KeyState::Blocked => Tone::Bad,
        KeyState::Disabled => Tone::Dim,
    };
    let mut text = key.state.as_str().to_owned();
    if let Some(until) = key.until {
        text = format!("{text} {}", countdown(until, now));
    } else if key.state == KeyState::Blocked && key.reason.is_some_and(Reason::needs_the_user) {
        text.push_str(", needs you");
    }
    if let Some(reason) = key.reason {
        text = format!("{text}\n{}", reason.as_str());
    }
    cell(tone, text)
}

/// What is left of the tightest limit, or the balance, with its currency below.
fn quota(quota: &QuotaRow) -> Cell {
    cell(left_tone(quota.remaining_ratio), left(quota).replace(' ', "\n"))
}

#[cfg(test)]
mod tests {
    use kmi_core::{
        snapshot::{FleetRow, LatencyRow, ProxyRow},
        state::Policy,
    };

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_795_000_000_000 + ms).unwrap()
    }

    fn key(label: &str, state: KeyState, reason: Option<Reason>, until: Option<i64>) -> KeyRow {
        KeyRow {
            key: "k-12345678".into(),
            label: label.into(),
            masked: "sk-…a1b2".into(),
            upstream: "kimi".into(),
            account: None,
            priority: 0,
            weight: 1,
            state,
            reason,
            until: until.map(at),
            last_used: Some(at(-185_000)),
            requests: 12_345,
            errors: 12,
            in_flight: 3,
            latency_ms: LatencyRow { p50: Some(1_234), p95: Some(88_100) },
            quota: QuotaRow { remaining_ratio: Some(0.734), ..QuotaRow::default() },
        }
    }

    fn snapshot() -> Snapshot {
        let unused = KeyRow {
            last_used: None,
            requests: 0,
            errors: 0,
            in_flight: 0,
            latency_ms: LatencyRow::default(),
            quota: QuotaRow {
                balance: Some(12.5),
                currency: Some("CNY".into()),
                ..QuotaRow::default()
            },
            ..key("spare", KeyState::Disabled, None, None)
        };
        Snapshot {
            proxy: ProxyRow {
                running: true,
                pid: Some(4_242),
                listen: Some("127.0.0.1:54123".into()),
                base_url: Some("http://127.0.0.1:54123/kmi-rotor/v1".into()),
                uptime_s: Some(11_000),
                version: "0.1.0".into(),
            },
            mode: Mode::Manual,
            policy: Policy::RoundRobin,
            active_key: Some("work".into()),
            keys: vec![
                key("work", KeyState::Healthy, None, None),
                key("a-label-that-is-far-too-long", KeyState::Warn, Some(Reason::QuotaLow), None),
                key("home", KeyState::Blocked, Some(Reason::ConcurrencyLimited), Some(252_000)),
                key("old\u{1b}[2J", KeyState::Blocked, Some(Reason::AuthFailed), None),
                unused,
            ],
            fleet: FleetRow::default(),
        }
    }

    #[test]
    fn the_table_fits_80_columns() {
        let text = status_table(&snapshot(), at(0), 80, Paint::default());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text, @r#"
        mode   manual, active key work
        proxy  http://127.0.0.1:54123/kmi-rotor/v1, pid 4242, up 3h03m

          label         key      state               used reqs errs busy  p50/p95 quota
        * work          sk-…a1b2 healthy               3m  12k   12    3 1.2s/88s   73%
          a-label-that… sk-…a1b2 warn                  3m  12k   12    3 1.2s/88s   73%
                                 quota_low
          home          sk-…a1b2 blocked 4m12s         3m  12k   12    3 1.2s/88s   73%
                                 concurrency_limited
          old\u{1b}[2J  sk-…a1b2 blocked, needs you    3m  12k   12    3 1.2s/88s   73%
                                 auth_failed
          spare         sk-…a1b2 disabled                    0    0    0          12.50
                                                                                    CNY
        "#);
    }

    #[test]
    fn several_upstreams_have_a_table_each() {
        let mut snapshot = snapshot();
        snapshot.mode = Mode::Auto;
        snapshot.proxy.running = false;
        snapshot.fleet = FleetRow { state: "degraded".into(), nodes: 3, ..FleetRow::default() };
        snapshot.keys.truncate(2);
        snapshot.keys[1].upstream = "open".into();
        insta::assert_snapshot!(status_table(&snapshot, at(0), 80, Paint::default()), @r#"
        mode   auto (round-robin)
        proxy  not running (start it with `kmi serve`)
        fleet  degraded, 3 nodes

        kimi
        label key      state   used reqs errs busy  p50/p95 quota
        work  sk-…a1b2 healthy   3m  12k   12    3 1.2s/88s   73%

        open
        label           key      state     used reqs errs busy  p50/p95 quota
        a-label-that-i… sk-…a1b2 warn        3m  12k   12    3 1.2s/88s   73%
                                 quota_low
        "#);
    }

    #[test]
    fn without_keys_it_says_what_to_do() {
        let empty = Snapshot { keys: Vec::new(), active_key: None, ..snapshot() };
        let text = status_table(&empty, at(0), 80, Paint::default());
        assert!(text.ends_with("no keys yet: add one with `kmi keys add LABEL`"), "{text}");
        assert!(text.starts_with("mode   manual, no active key\n"), "{text}");
    }

    #[test]
    fn colours_do_not_change_the_text() {
        let painted = status_table(&snapshot(), at(0), 80, Paint { colors: true });
        assert!(painted.contains("\u{1b}["));
        let plain = status_table(&snapshot(), at(0), 80, Paint::default());
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&without_colours(&painted)), words(&plain));
    }

    fn without_colours(text: &str) -> String {
        let mut parts = text.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |out, part| out + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    #[test]
    fn narrow_places_show_less() {
        for width in 48..130 {
            let text = status_table(&snapshot(), at(0), width, Paint::default());
            let fits = |line: &str| line.chars().count() <= usize::from(width);
            assert!(text.lines().all(fits), "{width}:\n{text}");
            assert!(text.contains("concurrency_limited"), "{width}:\n{text}");
        }
    }
}
