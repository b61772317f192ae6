//! Help, and command lines that lead nowhere.

use std::process::Stdio;

use crate::kmi::User;

#[test]
fn help_is_data() {
    let run = User::new().run("--help");
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @"
    Rotates your own Kimi API keys fairly, through a local proxy, and proves it

    Usage: kmi [OPTIONS] [COMMAND]

    Commands:
      init         Make the home with a commented configuration; overwrites nothing
      serve        Run the proxy
      stop         Stop the running proxy; requests that are under way may end
      reload       Make the running proxy read keys and configuration again
      run          Start a program with the environment that points it at the proxy
      env          Print the environment that `kmi run` sets
      rotate       Switch the active key to the next usable one, or to KEY
      auto         Automatic rotation on or off: every request takes the next key
      status       Show mode, keys, their health and their quota
      top          Watch the keys live: state, quota, latency; switch and rotate
      keys         List, add, remove and switch keys
      trace        Follow the trace: which key served what, and how it ended
      verify       Check the trace: unbroken, complete, and fair
      usage        Sum up requests, tokens, and what the rotation cost in lost cache
      simulate     Rotate made-up keys under a made-up load, and prove it
      config       Show and check the configuration
      doctor       Look for what is wrong, and say what to do about it
      demo         Show it all against a built-in stand-in: no key, no network
      completions  Print completions for a shell
      man          Print the man page
      service      Have the system run the proxy from login on
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
          --home <DIR>       kmi's home [default: `$KMI_HOME`, else ~/.kmi]
          --config <FILE>    Configuration file [default: HOME/kmi.config.toml]
          --set <KEY=VALUE>  Set any configuration key, for this call only
          --json             Print data as JSON
          --color <WHEN>     auto (`NO_COLOR` is obeyed), always or never
      -q, --quiet            Say only what was asked for, and errors
      -v, --verbose...       Say which files are used; twice: which settings, too

    Shortcuts:
          --rotate [<KEY>]  Switch to the next usable key, or to KEY (`kmi rotate`)
          --auto_rotate     Every request takes the next key [alias: --auto-rotate]
          --trace           Follow the trace (`kmi trace`)

    Examples:
      kmi init                     make ~/.kmi with a commented configuration
      kmi keys add work            ask for a key and store it
      kmi run -- kimi              start Kimi Code through the proxy
      kmi --auto_rotate            every request takes the next key
      kmi --rotate                 switch to the next key by hand
      kmi --trace                  watch which key served which request
      kmi verify                   prove from the trace that the rotation was fair

    Settings come from the command line, else the environment, else HOME/.env, else
    the configuration file; `kmi config show` prints each with its origin.
    Exit codes: 0 good, 1 failed, 2 bad usage or configuration, 3 not enough data.
    ");
}

#[test]
fn help_fits_80_columns() {
    let user = User::new();
    for command in [
        "",
        "auto",
        "completions",
        "config",
        "demo",
        "doctor",
        "env",
        "init",
        "keys",
        "keys add",
        "keys import",
        "keys remove",
        "keys test",
        "man",
        "reload",
        "rotate",
        "run",
        "serve",
        "service",
        "service install",
        "service uninstall",
        "top",
        "status",
        "stop",
        "trace",
        "trace export",
        "trace show",
        "usage",
        "verify",
    ] {
        let run = user.run(&format!("{command} --help")).good();
        let wide = run.out.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "kmi {command}");
    }
}

#[test]
fn a_mistake_is_one_line_and_a_hint() {
    insta::assert_snapshot!(User::new().run("--nonsense").told(), @"
    2
    --- out
    --- err
    error: unexpected argument '--nonsense' found
    hint: `kmi --help` shows what is possible
    ");
    insta::assert_snapshot!(User::new().run("verfy").told(), @"
    2
    --- out
    --- err
    error: unrecognized subcommand 'verfy'
    hint: did you mean `verify`?
    ");
}

#[test]
fn colour_is_for_those_who_want_it() {
    let user = User::new();
    let colored = |args: &str, no_color: &str| {
        let mut command = user.command(args);
        command.env("NO_COLOR", no_color);
        user.finish(command).err.contains('\u{1b}')
    };
    let wrong = "--set x config check";
    assert!(!colored(wrong, ""), "stderr is no terminal");
    assert!(colored(&format!("--color always {wrong}"), ""));
    assert!(!colored(&format!("--color never {wrong}"), ""));
    assert!(!colored(wrong, "1"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let user = User::new();
    for args in ["completions bash", "man", "config show", "--help"] {
        let mut child =
            user.std_command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args}: {output:?}");
        assert!(output.stderr.is_empty(), "{args}: {output:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let user = User::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = user.std_command("config path").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"
    error: cannot write to standard output: No space left on device (os error 28)
    hint: make room on that disk
    ");
    user.run("-q auto on").good();
    insta::assert_snapshot!(user.run("trace export -o none/x").err, @"
    error: cannot write none/x: No such file or directory (os error 2)
    hint: check the path: is its directory there?
    ");
    insta::assert_snapshot!(user.run("trace export -o .").err, @"
    error: cannot write .: Is a directory (os error 21)
    hint: name a file, not a directory
    ");
}
