//! Whole screens, as people see them.

use insta::assert_snapshot;
use kmi_core::state::Mode;

use super::*;

/// A filled screen once it shows `part`.
fn screen(screen: Screen, size: (u16, u16), part: &str) -> Whole {
    let mut whole = Whole::new(screen, size, Theme::default());
    whole.fill(status());
    whole.until(part, |it| it.contains(part));
    whole
}

/// The screen without the blanks at the ends of its lines.
fn shot(whole: &Whole) -> String {
    let picture = whole.picture();
    picture.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn press(whole: &mut Whole, key: Key, part: &str) {
    whole.press(key);
    whole.until(part, |it| it.contains(part));
}

#[test]
fn trace_in_eighty_columns() {
    assert_snapshot!(shot(&screen(Screen::Trace, SMALL, "turn 12 →")), @r"
     kmi  auto (round-robin)  127.0.0.1:54123 up 1h02m                 11:06:44 UTC
     proof    ROTATION PROVEN  200 of 200 turns in order, confidence 99.99 %
     last     turn 12 → echo sk-…0004  ok 200 in 2.3s  kimi-for-coding
     traffic  1.1 req/s  errors 16.6 %  p50 2.3s  p95 2.3s                    ████
      key        masked   of 173 turns      state
      alpha      sk-…0005 ██████████ 16.1 % healthy
      bravo      sk-…0005 ██████████ 16.1 % healthy
      charlie    sk-…0007 █▊          2.8 % blocked, back in 31s: rate limited
      delta      sk-…0005 ██████████ 16.1 % healthy
    ▶ echo       sk-…0004 ██████████ 16.1 % blocked, needs you: auth failed
      foxtrot    sk-…0007 ██████████ 16.1 % warn: quota low
      golf       sk-…0004 ██████████ 16.1 % disabled
     requests  live                                                        12 lines
      time       turn key      sk-…  outcome            ttft  all   in  out endpoint
    ╰ 11:06:41      4 delta    …0005 ok 200             0.8s 2.3s  12k  345 chat
      11:06:41      5 echo     …0004 ok 200             0.8s 2.3s  12k  345 models
      11:06:41      6 foxtrot  …0007 ok 200             0.8s 2.3s  12k  345 chat
      11:06:41      7 golf     …0004 ok 200             0.8s 2.3s  12k  345 chat
      11:06:42      8 alpha    …0005 ok 200             0.8s 2.3s  12k  345 chat
      11:06:42      9 bravo    …0005 upstream_timeout        2.3s  12k  345 chat
      11:06:42     10 charlie  …0007 ok 200             0.8s 2.3s  12k  345 chat
      11:06:42     11 delta    …0005 ok 200             0.8s 2.3s  12k  345 chat
      11:06:43     12 echo     …0004 ok 200             0.8s 2.3s  12k  345 chat
     q quit  ? help  Tab keys  Enter why  / filter  Space pause  e export
    ");
}

#[test]
fn trace_in_a_wide_place() {
    assert_snapshot!(shot(&screen(Screen::Trace, (200, 24), "turn 12 →")), @r"
     kmi  auto (round-robin)  127.0.0.1:54123 up 1h02m                                                                                                                                         11:06:44 UTC
      key        masked   share of the last 173 turns          state                                      proof    ROTATION PROVEN  200 of 200 turns in order, confidence 99.99 %
      alpha      sk-…0005 █████████████████████████████ 16.1 % healthy                                             so sure it is that at least 95 % of turns rotate correctly
      bravo      sk-…0005 █████████████████████████████ 16.1 % healthy                                    last     turn 12 → echo sk-…0004  ok 200 in 2.3s  kimi-for-coding
      charlie    sk-…0007 █████▏                         2.8 % blocked, back in 31s: rate limited
      delta      sk-…0005 █████████████████████████████ 16.1 % healthy                                    traffic  1.1 req/s  errors 16.6 %
    ▶ echo       sk-…0004 █████████████████████████████ 16.1 % blocked, needs you: auth failed                                                                            ▆▆█▂
      foxtrot    sk-…0007 █████████████████████████████ 16.1 % warn: quota low                            latency  p50 2.3s  p95 2.3s
      golf       sk-…0004 █████████████████████████████ 16.1 % disabled                                                                                                   ████

     requests  live                                                                                                                                                                                12 lines
      time           turn key            masked   try outcome            ttft  all   in  out  hit endpoint                     model           request        session
      11:06:40.500      2 bravo          sk-…0005     ok 200             0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-000000000002 s-1
    ╭ 11:06:40.750      3 charlie        sk-…0007     rate_limited 429   0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-000000000003 s-1
    ╰ 11:06:41.000      4 delta          sk-…0005   2 ok 200             0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-000000000003 s-1
      11:06:41.250      5 echo           sk-…0004     ok 200             0.8s 2.3s  12k  345  11k POST /v1/models                              r-000000000005 s-1
      11:06:41.500      6 foxtrot        sk-…0007     ok 200             0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-000000000006 s-1
      11:06:41.750      7 golf           sk-…0004     ok 200             0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-000000000007 s-1
      11:06:42.000      8 alpha          sk-…0005     ok 200             0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-000000000008 s-1
      11:06:42.250      9 bravo          sk-…0005     upstream_timeout        2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-000000000009 s-1
      11:06:42.500     10 charlie        sk-…0007     ok 200             0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-00000000000a s-1
      11:06:42.750     11 delta          sk-…0005     ok 200             0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-00000000000b s-1
      11:06:43.000     12 echo           sk-…0004     ok 200             0.8s 2.3s  12k  345  11k POST /v1/chat/completions    kimi-for-coding r-00000000000c s-1
     q quit  ? help  Tab keys  Enter why  / filter  Space pause  e export  K O M S only like this
    ");
}

#[test]
fn keys_in_eighty_columns() {
    assert_snapshot!(shot(&screen(Screen::Top, SMALL, "turn 12 →")), @r"
    kmi  auto (round-robin)  127.0.0.1:54123 up 1h02m                 11:06:44 UTC
    proof    ROTATION PROVEN  200 of 200 turns in order, confidence 99.99 %
    last     turn 12 → echo sk-…0004  ok 200 in 2.3s  kimi-for-coding
    traffic  1.1 req/s  errors 16.6 %  p50 2.3s  p95 2.3s                    ████
    4 of 7 keys usable, 2 blocked   861 requests   12 errors   2 in flight
     key      sk-…  state    why      back in   used reqs errs busy   p50/p95  left
     alpha    …0005 healthy                       3s  123    0    0  1.2s/12s   60%
     bravo    …0005 healthy                       3s  123    0    2  1.2s/12s   60%
     charlie  …0007 blocked  too fast 31s         3s  123    3    0  1.2s/12s   60%
     delta    …0005 healthy                       3s  123    0    0  1.2s/12s   60%
     echo     …0004 blocked  refused  needs you   3s  123    3    0  1.2s/12s   60%
     foxtrot  …0007 warn     low                  3s  123    3    0  1.2s/12s    8%
     golf     …0004 disabled                          123    3    0  1.2s/12s

    selected key
    key          alpha sk-…0005  k-117b9db7, upstream kimi
    state        healthy
    account      family   priority 0   weight 1
    5h quota     ████████████         60% left   anew in 1h59m (11-18 13:06)
    7d quota     ██████████████████   90% left   anew in 4d03h (11-22 15:06)
    asked        1m ago, from usages


    q quit  ? help  Tab trace  r rotate to  e d on, off  t test  x unblock  m mode
    ");
}

#[test]
fn keys_where_there_is_little_place() {
    assert_snapshot!(shot(&screen(Screen::Top, (40, 10), "turn 12 →")), @"
    kmi  auto (round-robin)   11:06:44 UTC
    proof    ROTATION PROVEN  200 of 200 tu
    last     turn 12 → echo sk-…0004  ok 20
    traffic  1.1 req/s  errors 16.6 %  p50
    4 of 7 keys usable, 2 blocked   861 re…
     key      state    why      back in
     alpha    healthy
     bravo    healthy
     charlie  blocked  too fast 31s
    q quit  ? help  Tab trace  r rotate to
    ");
}

#[test]
fn keys_in_a_wide_place() {
    assert_snapshot!(shot(&screen(Screen::Top, (200, 22), "turn 12 →")), @r"
    kmi  auto (round-robin)  127.0.0.1:54123 up 1h02m                                                                                                                                         11:06:44 UTC
    proof    ROTATION PROVEN  200 of 200 turns in order, confidence 99.99 %
    last     turn 12 → echo sk-…0004  ok 200 in 2.3s  kimi-for-coding
    traffic  1.1 req/s  errors 16.6 %  p50 2.3s  p95 2.3s                                                        ████
    4 of 7 keys usable, 2 blocked   861 requests   12 errors   2 in flight
     key            masked   state    why                 back in   used reqs errs busy   p50/p95 account         left quota left, anew in
     alpha          sk-…0005 healthy                                  3s  123    0    0  1.2s/12s family           60% 5h    ████▊     1h59m 7d    ███████▎  4d03h
     bravo          sk-…0005 healthy                                  3s  123    0    2  1.2s/12s family           60% 5h    ████▊     1h59m 7d    ███████▎  4d03h
     charlie        sk-…0007 blocked  rate limited        31s         3s  123    3    0  1.2s/12s                  60% 5h    ████▊     1h59m 7d    ███████▎  4d03h
     delta          sk-…0005 healthy                                  3s  123    0    0  1.2s/12s                  60% 5h    ████▊     1h59m 7d    ███████▎  4d03h
     echo           sk-…0004 blocked  auth failed         needs you   3s  123    3    0  1.2s/12s                  60% 5h    ████▊     1h59m 7d    ███████▎  4d03h
     foxtrot        sk-…0007 warn     quota low                       3s  123    3    0  1.2s/12s                   8% 5h    ▋         1h59m 7d    ███████▎  4d03h
     golf           sk-…0004 disabled                                     123    3    0  1.2s/12s
    selected key
    key          alpha sk-…0005  k-117b9db7, upstream kimi
    state        healthy
    account      family   priority 0   weight 1
    5h quota     ████████████         60% left   anew in 1h59m (11-18 13:06)
    7d quota     ██████████████████   90% left   anew in 4d03h (11-22 15:06)
    asked        1m ago, from usages

    q quit  ? help  Tab trace  r rotate to  e d on, off  t test  x unblock  m mode
    ");
}

#[test]
fn a_key_that_needs_its_user() {
    let mut whole = screen(Screen::Top, SMALL, "turn 12 →");
    for _ in 0..4 {
        whole.press(Key::Down);
    }
    press(&mut whole, Key::Char('r'), "Rotate to echo?");
    assert_snapshot!(shot(&whole), @r"
    kmi  auto (round-robin)  127.0.0.1:54123 up 1h02m                 11:06:44 UTC
    proof    ROTATION PROVEN  200 of 200 turns in order, confidence 99.99 %
    last     turn 12 → echo sk-…0004  ok 200 in 2.3s  kimi-for-coding
    traffic  1.1 req/s  errors 16.6 %  p50 2.3s  p95 2.3s                    ████
    4 of 7 keys usable, 2 blocked   861 requests   12 errors   2 in flight
     key      sk-…  state    why      back in   used reqs errs busy   p50/p95  left
     alpha    …0005 healthy                       3s  123    0    0  1.2s/12s   60%
     bravo    …0005 healthy                       3s  123    0    2  1.2s/12s   60%
     charlie  …0007 blocked  too fast 31s         3s  123    3    0  1.2s/12s   60%
     delta    …0005 healthy                       3s  123    0    0  1.2s/12s   60%
     echo ┌ Rotate to echo? ────────────────────────────────────────────────┐   60%
     foxtr│ It cannot serve now: others step in until it can (manual mode). │    8%
     golf │                                                                 │
          │ y or Enter: yes    n or Esc: no                                 │
    select└─────────────────────────────────────────────────────────────────┘
    key          echo sk-…0004  k-00920eac, upstream kimi
    state        blocked, needs you: auth failed   put in a new key, or press t
    account      not known   priority 0   weight 1
    5h quota     ████████████         60% left   anew in 1h59m (11-18 13:06)
    7d quota     ██████████████████   90% left   anew in 4d03h (11-22 15:06)
    asked        1m ago, from usages


    q quit  ? help  Tab trace  r rotate to  e d on, off  t test  x unblock  m mode
    ");
}

#[test]
fn a_request_and_why_it_had_its_key() {
    let mut whole = screen(Screen::Trace, SMALL, "turn 12 →");
    press(&mut whole, Key::Enter, "Why this key");
    let text = "turn 12: echo, the next key after delta\n\n\
                other keys             why not\n\
                foxtrot                comes later\n\
                golf     passed over   was blocked until 11:20 (5-hour quota)";
    let explained = Answer::Explained { seq: 12, text: text.to_owned() };
    whole.give(UserEvent::Answer(Arc::new(explained)));
    whole.until("the reason", |it| it.contains("the next key after delta"));
    press(&mut whole, Key::PageDown, "passed over");
    assert_snapshot!(shot(&whole), @r"
     kmi  auto (round-robin)  127.0.0.1:54123 up 1h02m                 11:06:44 UTC
     ┌ line 12 of the trace   Esc closes, ↑ ↓ scroll ─────────────────────────────┐
     │ key          echo  sk-…0004  k-00920eac                                    │
     │ outcome      ok 200                                                        │
     │ time         2026-11-18T11:06:43.000Z                                      │
     │ turn         12, of epoch 1                                                │
     │ attempt      1 of request r-00000000000c                                   │
     │ endpoint     POST /v1/chat/completions                                     │
     │ model        kimi-for-coding                                               │
    ▶│ session      s-1                                                           │
     │ upstream     kimi                                                          │
     │ mode         auto, round-robin                                             │
     │ latency      2345 ms in all; queued 1 ms, connecting 12 ms, first byte 812 │
     │                ms                                                          │t
    ╰│ tokens       12000 in, 345 out, 11000 in from the cache                    │
     │ bytes        100 up, 200 down                                              │
     │                                                                            │
     │ Why this key                                                               │
     │ turn 12: echo, the next key after delta                                    │
     │ other keys             why not                                             │
     │ foxtrot                comes later                                         │
     │ golf     passed over   was blocked until 11:20 (5-hour quota)              │
     └────────────────────────────────────────────────────────────────────────────┘
     q quit  ? help  Tab keys  Enter why  / filter  Space pause  e export
    ");
}

#[test]
fn a_filter_is_typed() {
    let mut whole = screen(Screen::Trace, SMALL, "turn 12 →");
    for c in "/key:echo".chars() {
        whole.press(Key::Char(c));
    }
    whole.until("two lines", |it| it.contains("2 of 12 lines"));
    assert_snapshot!(shot(&whole), @r"
     kmi  auto (round-robin)  127.0.0.1:54123 up 1h02m                 11:06:44 UTC
     proof    ROTATION PROVEN  200 of 200 turns in order, confidence 99.99 %
     last     turn 12 → echo sk-…0004  ok 200 in 2.3s  kimi-for-coding
     traffic  1.1 req/s  errors 16.6 %  p50 2.3s  p95 2.3s                    ████
      key        masked   of 173 turns      state
      alpha      sk-…0005 ██████████ 16.1 % healthy
      bravo      sk-…0005 ██████████ 16.1 % healthy
      charlie    sk-…0007 █▊          2.8 % blocked, back in 31s: rate limited
      delta      sk-…0005 ██████████ 16.1 % healthy
    ▶ echo       sk-…0004 ██████████ 16.1 % blocked, needs you: auth failed
      foxtrot    sk-…0007 ██████████ 16.1 % warn: quota low
      golf       sk-…0004 ██████████ 16.1 % disabled
     requests  live                                         2 of 12 lines: key:echo
      time       turn key      sk-…  outcome            ttft  all   in  out endpoint
      11:06:41      5 echo     …0004 ok 200             0.8s 2.3s  12k  345 models
      11:06:43     12 echo     …0004 ok 200             0.8s 2.3s  12k  345 chat







     filter: key:echo
    ");
}

#[test]
fn help_for_the_keys() {
    let mut whole = screen(Screen::Top, SMALL, "turn 12 →");
    press(&mut whole, Key::Char('?'), "? closes");
    assert_snapshot!(shot(&whole), @r"
    k┌ help   ? closes, ↑ ↓ scroll ─────────────────────────────────────────────┐C
    p│ Among the keys                                                           │
    l│ ↑ k      one key up                                                      │
    t│ ↓ j      one key down                                                    │
    4│ PgUp     one page back                                                   │
     │ PgDn     one page on                                                     │ft
     │ Home g   first key                                                       │0%
     │ End G    last key                                                        │0%
     │ r Enter  rotate to this key (manual)                                     │0%
     │ e        enable                                                          │0%
     │ d        disable                                                         │0%
     │ t        test: does it work, what is left?                               │8%
     │ x        end what blocks it now                                          │
     │ m        auto mode on or off                                             │
    s│                                                                          │
    k│ Anywhere                                                                 │
    s│ Tab      trace or keys                                                   │
    a│ ?        help                                                            │
    5│ q        quit                                                            │
    7│                                                                          │
    a│ In the trace                                                             │
     │ ↑ k      one line up                                                     │
     │ ↓ j      one line down                                                   │
    q└──────────────────────────────────────────────────────────────────────────┘e
    ");
}

#[test]
fn help_in_a_wide_place() {
    let mut whole = screen(Screen::Trace, (120, 32), "turn 12 →");
    press(&mut whole, Key::Char('?'), "? closes");
    assert_snapshot!(shot(&whole), @r"
     kmi  auto (round-robin)  127.0.0.1:54123 up 1h02m                                                         11:06:44 UTC
     proof    ROTATION PROVEN  200 of 200 turns in order, confidence 99.99 %
     last     turn 12 → echo sk-…0004  ok 200 in 2.3s  kimi-for-coding
     traffic  1.1 req/s  errors 16.6 %  p50 2.3s  p95 2.3s                                                        ████
      key      ┌ help   ? closes, ↑ ↓ scroll ───────────────────────────────────────────────────────────────────┐
      alpha    │ In the trace                                   Among the keys                                  │
      bravo    │ ↑ k      one line up                           ↑ k      one key up                             │
      charlie  │ ↓ j      one line down                         ↓ j      one key down                           │
      delta    │ PgUp     one page back, on into the ledger     PgUp     one page back                          │
    ▶ echo     │ PgDn     one page on                           PgDn     one page on                            │
      foxtrot  │ Home g   oldest line at hand                   Home g   first key                              │
      golf     │ End G    newest line, and follow               End G    last key                               │
     requests  │ Enter    all about a request, and why this key r Enter  rotate to this key (manual)            │  12 lines
      time     │ Space p  pause, go on                          e        enable                                 │est
      11:06:40 │ /        filter                                d        disable                                │0000000001
      11:06:40 │ K        only the selected line's key          t        test: does it work, what is left?      │0000000002
    ╭ 11:06:40 │ O        only its outcome                      x        end what blocks it now                 │0000000003
    ╰ 11:06:41 │ M        only its model                        m        auto mode on or off                    │0000000003
      11:06:41 │ S        only its session                                                                      │0000000005
      11:06:41 │ c Esc    no filter                             Anywhere                                        │0000000006
      11:06:41 │ e        export what is shown to a new file    Tab      trace or keys                          │0000000007
      11:06:42 │                                                ?        help                                   │0000000008
      11:06:42 │                                                q        quit                                   │0000000009
      11:06:42 │                                                                                                │000000000a
      11:06:42 │ A filter is words that must all occur; key:, outcome:, model: and                              │000000000b
      11:06:43 │ session: in front of a word name the field, as in key:work outcome:quota                       │000000000c
               │ Times are UTC. ttft: time to the first byte; all: to the end; in, out,                         │
               │ hit: tokens of prompt, answer, and prompt out of the cache.                                    │
               └────────────────────────────────────────────────────────────────────────────────────────────────┘


     q quit  ? help  Tab keys  Enter why  / filter  Space pause  e export  K O M S only like this
    ");
}

#[test]
fn manual_mode_has_nothing_to_prove() {
    let mut whole = Whole::new(Screen::Top, SMALL, Theme::default());
    let mut manual = status();
    (manual.snapshot.mode, manual.snapshot.active_key) = (Mode::Manual, Some("bravo".into()));
    whole.give(UserEvent::Clock(at(4_000)));
    whole.give(UserEvent::Proof(Arc::new(proof(12, 0))));
    whole.give(UserEvent::Status(Arc::new(manual)));
    let picture = whole.until("the mode", |it| it.contains("manual: bravo serves"));
    for part in ["NOTHING TO PROVE  manual mode: the active key serves", "* bravo"] {
        assert!(picture.contains(part), "{part}:\n{picture}");
    }
}

#[test]
fn a_home_without_keys_says_what_to_do() {
    let mut whole = Whole::new(Screen::Trace, SMALL, Theme::default());
    whole.give(UserEvent::Clock(at(4_000)));
    whole.give(UserEvent::Status(Arc::default()));
    whole.until("what to do", |it| it.contains("kmi keys add LABEL"));
    assert_snapshot!(shot(&whole), @r"
    kmi  manual, no active key  NO PROXY RUNS: kmi serve starts one   11:06:44 UTC
    proof    CHECKING  the last turns are being replayed
    last     no request yet
    traffic  0.0 req/s
    no keys yet: add one with `kmi keys add LABEL`

    requests  the past                                                     0 lines
     time       turn key      sk-…  outcome            ttft  all   in  out endpoint
     the ledger is empty














    q quit  ? help  Tab keys  Enter why  / filter  Space pause  e export
    ");
}
