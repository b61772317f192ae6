//! `kmi rotate`, `kmi auto`, and their seed flags, with and without a running proxy.

use crate::proxy::{Proxy, Upstream};

#[test]
fn the_active_key_is_switched_and_shown() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    insta::assert_snapshot!(user.run("rotate").good().told(), @"
    0
    --- out
    mode   manual, active key k2
    proxy  not running (start it with `kmi serve`)

      label key      state   used reqs errs busy p50/p95 quota
      k1    sk-…0001 healthy         0    0    0
    * k2    sk-…0002 healthy         0    0    0
      k3    sk-…0003 healthy         0    0    0

    fairness  0 turns so far; it takes 59 to judge
    --- err
    ");
    assert!(user.run("--rotate k1").good().out.starts_with("mode   manual, active key k1\n"));
    assert!(user.run("--rotate").good().out.starts_with("mode   manual, active key k2\n"));
    let id = user.run("status --json").json()["keys"][2]["key"].as_str().unwrap().to_owned();
    assert!(user.run(&format!("rotate {id}")).out.starts_with("mode   manual, active key k3\n"));
    assert!(user.run("rotate").out.starts_with("mode   manual, active key k1\n"), "round");
    assert_eq!(user.run("rotate --json").json()["active_key"], "k2");
}

#[test]
fn an_unknown_key_is_told() {
    let upstream = Upstream::healthy(2);
    let user = upstream.user();
    let offline = user.run("rotate k9");
    insta::assert_snapshot!(offline.told(), @"
    1
    --- out
    --- err
    error: no key is called `k9`
    hint: `kmi keys list` shows all labels
    ");
    let _proxy = Proxy::start(&user);
    assert_eq!(user.run("rotate k9").told(), offline.told());
}

#[test]
fn without_keys_there_is_nothing_to_rotate() {
    let user = Upstream::healthy(1).user_without_keys();
    insta::assert_snapshot!(user.run("rotate").told(), @"
    1
    --- out
    --- err
    error: there is no key
    hint: add one with `kmi keys add LABEL`
    ");
}

#[test]
fn a_key_that_cannot_serve_is_passed_over() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    user.run("keys disable k2").good();
    assert_eq!(user.run("rotate --json").json()["active_key"], "k3");
    let named = user.run("rotate k2").good();
    assert!(named.out.starts_with("mode   manual, active key k2\n"));
    insta::assert_snapshot!(named.err, @"
    warning: k2 is disabled and cannot serve now; others step in
    hint: `kmi keys enable k2` lets it serve again
    ");
    for key in ["k1", "k3"] {
        user.run(&format!("keys disable {key}")).good();
    }
    insta::assert_snapshot!(user.run("rotate").told(), @"
    1
    --- out
    --- err
    error: no key is usable now
    hint: `kmi status` shows why, and until when
    ");
}

#[test]
fn a_running_proxy_obeys_at_once() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.keys(2), ["k1", "k1"]);
    assert_eq!(proxy.chat().header("x-kmi-turn"), "", "a manual request is no turn");
    user.run("rotate").good();
    assert_eq!(proxy.keys(2), ["k2", "k2"]);
    user.run("rotate k1").good();
    assert_eq!(proxy.keys(1), ["k1"]);
    user.run("auto on").good();
    assert_eq!(proxy.keys(4), ["k1", "k2", "k3", "k1"]);
    user.run("auto off").good();
    assert_eq!(proxy.keys(2), ["k1", "k1"]);
    user.run("--auto-rotate").good();
    assert_eq!(proxy.keys(2), ["k2", "k3"]);
    user.run("rotate k3").good();
    assert_eq!(proxy.keys(2), ["k3", "k3"], "a choice by hand ends automatic rotation");
}

#[test]
fn auto_says_mode_order_and_confidence() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    insta::assert_snapshot!(user.run("--auto_rotate").good().told(), @"
    0
    --- out
    mode      auto: every request takes the next key (round-robin)
    order     k1 → k2 → k3
    fairness  0 turns so far; it takes 59 to judge
    --- err
    ");
    let proxy = Proxy::start(&user);
    proxy.keys(60);
    insta::assert_snapshot!(user.run("auto").good().told(), @"
    0
    --- out
    mode      auto: every request takes the next key (round-robin)
    order     k1 → k2 → k3
    fairness  60 of the last 60 turns in order, confidence 95.39 %
    --- err
    ");
    insta::assert_snapshot!(user.run("auto off").good().out, @"
    mode      manual: k1 serves every request
    fairness  60 of the last 60 turns in order, confidence 95.39 %
    ");
    assert_eq!(user.run("auto --json").json()["mode"], "auto");
    user.file(".kmi/_auths/k4.toml", "api_key = \"sk-of-the-fourth\"\nweight = 3\n");
    user.run("reload").good();
    let told = user.run("auto").good().out;
    assert!(told.contains("\norder     k1 → k2 → k3 → k4 (weight 3)\n"), "{told}");
}

#[test]
fn mode_and_active_key_outlive_restarts() {
    let upstream = Upstream::healthy(3);
    let user = upstream.user();
    let config = std::fs::read_to_string(user.path(".kmi/kmi.config.toml")).unwrap();
    user.file(".kmi/kmi.config.toml", &format!("{config}[rotation]\nmode = \"auto\"\n"));
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.keys(2), ["k1", "k2"], "the initial value");
    user.run("rotate k2").good();
    user.run("stop").good();
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.keys(2), ["k2", "k2"]);
    user.run("stop").good();
    user.run("auto on").good();
    assert_eq!(user.run("status --json").json()["mode"], "auto");
    let proxy = Proxy::start(&user);
    assert_eq!(proxy.keys(3), ["k3", "k1", "k2"], "the rotation goes on in place");
    assert_eq!(user.run("status --json").json()["active_key"], "k2");
}

#[test]
fn a_seed_flag_stands_alone() {
    let user = Upstream::healthy(1).user();
    insta::assert_snapshot!(user.run("--auto_rotate status").told(), @"
    2
    --- out
    --- err
    error: `--auto_rotate` is a command itself and cannot stand beside another one
    hint: give one of them
    ");
    assert_eq!(user.run("--trace --rotate").code, 2);
    let trace = user.run("--trace");
    assert_eq!(trace.code, 1);
    assert!(trace.err.contains("nothing to follow"), "{}", trace.err);
}
