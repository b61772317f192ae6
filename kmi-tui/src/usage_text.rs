//! What was used, as bars, and what the rotation cost in lost cache.

use comfy_table::ColumnConstraint;
use kmi_core::display::visible;
use kmi_stats::usage::{By, CacheCost, MIN_SAMPLE, Share, UsageReport, UsageRow};

use crate::{
    bars::{apart, bar, cut, right},
    paint::{Paint, Tone, cell, trimmed, wrap},
    quantity::{count, percent},
};

/// The column of the bar; the next one is its number.
const BAR: usize = 1;

/// The table of usage, a line for the sum, and the cost of the rotation with how it is estimated.
pub fn usage_text(report: &UsageReport, width: u16, paint: Paint) -> String {
    if report.rows.is_empty() {
        return paint.text(Tone::Dim, "no requests in this time");
    }
    let cost = wrap(&cost(&report.cache, report.total.prompt_tokens), width, "");
    format!("{}\n\n{cost}", table(report, width, paint))
}

fn table(report: &UsageReport, width: u16, paint: Paint) -> String {
    let tokens = |row: &UsageRow| row.prompt_tokens.saturating_add(row.completion_tokens);
    let most = report.rows.iter().map(tokens).max().unwrap_or(0);
    // Beside the bar: a name of up to 20 characters, seven numbers, blanks.
    let room = usize::from(width.saturating_sub(82)).clamp(4, 40);
    let what = match report.by {
        By::Key => "key",
        By::Model => "model",
        By::Day => "day",
    };
    let head = [what, "tokens", "", "requests", "errors", "prompt", "cached", "answers", "lost"];
    let mut table = paint.table(width);
    table.set_header(head.map(|name| cell(Tone::Dim, name)));
    let several = report.rows.iter().any(|row| row.upstream != report.rows[0].upstream);
    for row in &report.rows {
        table.add_row(
            [
                cell(Tone::Plain, cut(&name(row, several), 20)),
                cell(Tone::Good, bar(tokens(row), most, room)),
                cell(Tone::Plain, count(tokens(row))),
            ]
            .into_iter()
            .chain(numbers(row)),
        );
    }
    if report.rows.len() > 1 {
        let total = &report.total;
        table.add_row(
            [
                cell(Tone::Strong, "all"),
                cell(Tone::Plain, ""),
                cell(Tone::Plain, count(tokens(total))),
            ]
            .into_iter()
            .chain(numbers(total)),
        );
    }
    right(&mut table, &[2, 3, 4, 5, 6, 7, 8]);
    apart(&mut table);
    fit(&mut table, head, usize::from(width));
    trimmed(&table)
}

/// Leaves columns out, the least important ones first, until no word has to be broken.
fn fit(table: &mut comfy_table::Table, mut head: [&str; 9], width: usize) {
    const LEAST_IMPORTANT: [usize; 6] = [BAR, 7, 5, 8, 6, 4];
    for (left_out, at) in LEAST_IMPORTANT.into_iter().enumerate() {
        let widths = table.column_max_content_widths().into_iter().enumerate();
        let shown = widths.filter(|(column, _)| !LEAST_IMPORTANT[..left_out].contains(column));
        if shown.map(|(_, width)| usize::from(width) + 2).sum::<usize>() <= width {
            return;
        }
        if let Some(column) = table.column_mut(at) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
        if at == BAR {
            // Its name is that of its number.
            head.swap(BAR, BAR + 1);
            table.set_header(head.map(|name| cell(Tone::Dim, name)));
        }
    }
}

fn numbers(row: &UsageRow) -> [comfy_table::Cell; 6] {
    let errors = if row.errors > 0 { Tone::Warn } else { Tone::Dim };
    let cached = row.cached_ratio.map_or_else(|| "-".to_owned(), |ratio| percent(ratio, 0));
    let lost = match row.lost_cached_tokens {
        Some(lost) => count(lost),
        None if row.lost_at_most == 0 => "0".to_owned(),
        None => format!("≤{}", count(row.lost_at_most)),
    };
    [
        cell(Tone::Plain, row.requests.to_string()),
        cell(errors, row.errors.to_string()),
        cell(Tone::Plain, count(row.prompt_tokens)),
        cell(Tone::Plain, cached),
        cell(Tone::Plain, count(row.completion_tokens)),
        cell(Tone::Dim, lost),
    ]
}

fn name(row: &UsageRow, several: bool) -> String {
    let name = row.name.as_deref().map_or_else(|| "-".into(), visible);
    match row.upstream.as_deref().filter(|_| several) {
        Some(upstream) => format!("{}/{name}", visible(upstream)),
        None => name.into_owned(),
    }
}

/// The cost in plain words, the method included.
fn cost(cache: &CacheCost, prompt: u64) -> String {
    if cache.moved.requests == 0 {
        return "Rotation cost no cache: no session was served by two keys in turn.".to_owned();
    }
    let bound = format!(
        "At most {} tokens can have been lost: no more of a prompt can be cached than the request \
         before it had.",
        count(cache.lost_at_most)
    );
    match (cache.lost_cached_tokens, cache.stayed.cached_ratio) {
        (Some(lost), Some(_)) => format!(
            "Rotation gave up about {} cached prompt tokens ({} of all). How this is estimated: {} \
             requests came after a request of their session on the same key, and {} of their prompts \
             was cached; {} came after one on another key, with {}. Lost is what the latter would have \
             found with the share of the former. {bound}",
            count(lost),
            share(lost, prompt),
            cache.stayed.requests,
            part(&cache.stayed),
            cache.moved.requests,
            part(&cache.moved),
        ),
        _ => format!(
            "What the rotation gave up in cached tokens cannot be estimated: {MIN_SAMPLE} requests \
             after one of their session on the same key are needed to know what staying keeps, and \
             there are {}. {} came after one on another key, and {} of their prompts was \
             cached. {bound}",
            cache.stayed.requests,
            cache.moved.requests,
            part(&cache.moved),
        ),
    }
}

fn part(share: &Share) -> String {
    percent(share.cached_ratio.unwrap_or(0.0), 0)
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, of: u64) -> String {
    percent(if of == 0 { 0.0 } else { part as f64 / of as f64 }, 1)
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]
mod tests {
    use super::*;

    fn row(name: &str, requests: u64, prompt: u64, cached: u64, lost: Option<u64>) -> UsageRow {
        UsageRow {
            name: Some(name.into()),
            upstream: Some("kimi".into()),
            key: Some("k-00000000".into()),
            requests,
            retries: 0,
            errors: requests / 20,
            prompt_tokens: prompt,
            completion_tokens: prompt / 10,
            cached_tokens: cached,
            cached_ratio: (prompt > 0).then_some(cached as f64 / prompt.max(1) as f64),
            lost_cached_tokens: lost,
            lost_at_most: prompt / 4,
        }
    }

    fn group(requests: u64, prompt: u64, ratio: f64) -> Share {
        let cached_ratio = (prompt > 0).then_some(ratio);
        let cached_tokens = (prompt as f64 * ratio) as u64;
        Share { requests, prompt_tokens: prompt, cached_tokens, cached_ratio }
    }

    fn report(lost: Option<u64>, moved: u64) -> UsageReport {
        UsageReport {
            by: By::Key,
            rows: vec![
                row("work", 120, 90_000, 70_000, lost),
                row("home\u{1b}[31m", 40, 45_000, 1_000, lost),
                row("new", 0, 0, 0, lost.map(|_| 0)),
            ],
            total: UsageRow { name: None, ..row("", 160, 135_000, 71_000, lost) },
            cache: CacheCost {
                stayed: group(if lost.is_some() { 100 } else { 3 }, 80_000, 0.92),
                moved: group(moved, 50_000, 0.35),
                lost_cached_tokens: lost,
                lost_at_most: 30_000,
            },
        }
    }

    #[test]
    fn usage_is_bars_and_the_cost_is_explained() {
        insta::assert_snapshot!(usage_text(&report(Some(28_500), 55), 100, Paint::default()), @r#"
        key             tokens                    requests  errors  prompt  cached  answers  lost
        work            ██████████████████   99k       120       6     90k    77 %     9.0k   28k
        home\u{1b}[31m  █████████            49k        40       2     45k     2 %     4.5k   28k
        new                                    0         0       0       0       -        0     0
        all                                 148k       160       8    135k    52 %      13k   28k

        Rotation gave up about 28k cached prompt tokens (21.1 % of all). How this is estimated: 100 requests
        came after a request of their session on the same key, and 92 % of their prompts was cached; 55 came
        after one on another key, with 35 %. Lost is what the latter would have found with the share of the
        former. At most 30k tokens can have been lost: no more of a prompt can be cached than the request
        before it had.
        "#);
    }

    #[test]
    fn without_a_sample_nothing_is_claimed() {
        insta::assert_snapshot!(usage_text(&report(None, 55), 80, Paint::default()), @r#"
        key             tokens        requests  errors  prompt  cached  answers  lost
        work            ████     99k       120       6     90k    77 %     9.0k  ≤22k
        home\u{1b}[31m  ██       49k        40       2     45k     2 %     4.5k  ≤11k
        new                        0         0       0       0       -        0     0
        all                     148k       160       8    135k    52 %      13k  ≤33k

        What the rotation gave up in cached tokens cannot be estimated: 20 requests
        after one of their session on the same key are needed to know what staying
        keeps, and there are 3. 55 came after one on another key, and 35 % of their
        prompts was cached. At most 30k tokens can have been lost: no more of a prompt
        can be cached than the request before it had.
        "#);
    }

    #[test]
    fn a_narrow_table_has_fewer_columns_and_whole_words() {
        let table = |width| {
            let text = usage_text(&report(Some(28_500), 55), width, Paint::default());
            text.split("\n\n").next().unwrap_or_default().to_owned()
        };
        insta::assert_snapshot!(table(60), @r#"
        key             tokens  requests  errors  cached  lost
        work               99k       120       6    77 %   28k
        home\u{1b}[31m     49k        40       2     2 %   28k
        new                  0         0       0       -     0
        all               148k       160       8    52 %   28k
        "#);
        insta::assert_snapshot!(table(40), @r#"
        key             tokens  requests
        work               99k       120
        home\u{1b}[31m     49k        40
        new                  0         0
        all               148k       160
        "#);
    }

    #[test]
    fn nothing_used_and_nothing_lost_have_their_words() {
        let none = UsageReport { rows: vec![], ..report(None, 0) };
        assert_eq!(usage_text(&none, 80, Paint::default()), "no requests in this time");
        let text = usage_text(&report(None, 0), 80, Paint::default());
        assert!(text.ends_with("no session was served by two keys in turn."), "{text}");
        for width in [40, 60, 80, 120, 200] {
            let text = usage_text(&report(Some(7), 5), width, Paint::default());
            let most = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(most <= usize::from(width), "{width}:\n{text}");
        }
    }
}
