use super::*;

fn parse(line: &str) -> Result<Cli, UsageError> {
    Cli::parse_from(std::iter::once("kmi").chain(line.split_whitespace()).map(Into::into))
}

fn wrong(line: &str) -> String {
    match parse(line) {
        Err(UsageError::Wrong { message, hint }) => format!("{message}\n{hint}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory as _;
    Typed::command().debug_assert();
}

#[test]
fn seed_flags_are_their_commands() {
    let rotate = |line| match parse(line).unwrap().command {
        Some(Command::Rotate(args)) => args.key,
        other => panic!("{other:?}"),
    };
    assert_eq!(rotate("--rotate"), None);
    assert_eq!(rotate("rotate"), None);
    assert_eq!(rotate("--rotate work"), Some("work".into()));
    assert_eq!(rotate("rotate work"), Some("work".into()));
    assert_eq!(rotate("--rotate --json"), None);
    for line in ["--auto_rotate", "--auto-rotate", "auto", "auto on"] {
        let command = parse(line).unwrap().command;
        assert!(matches!(command, Some(Command::Auto(AutoArgs { switch: Switch::On }))), "{line}");
    }
    for line in ["--trace", "trace"] {
        assert!(matches!(parse(line).unwrap().command, Some(Command::Trace(_))), "{line}");
    }
    assert!(parse("").unwrap().command.is_none());
}

#[test]
fn one_command_at_a_time() {
    insta::assert_snapshot!(wrong("--trace status"), @"
    `--trace` is a command itself and cannot stand beside another one
    give one of them
    ");
    insta::assert_snapshot!(wrong("--trace --rotate"), @"
    the argument '--trace' cannot be used with '--rotate [<KEY>]'
    `kmi --help` shows what is possible
    ");
}

#[test]
fn global_options_stand_anywhere() {
    let cli = parse("--home a --set x=1 config show --json -v").unwrap();
    assert_eq!(cli.global.home.as_deref(), Some("a".as_ref()));
    assert_eq!(cli.global.set, ["x=1"]);
    assert!(cli.global.json);
    assert_eq!(cli.global.verbose, 1);
    let cli = parse("config show --home b --set x=1 --set y=2").unwrap();
    assert_eq!(cli.global.home.as_deref(), Some("b".as_ref()));
    assert_eq!(cli.global.set, ["x=1", "y=2"]);
}

#[test]
fn what_follows_the_program_belongs_to_it() {
    let run = |line| match parse(line).unwrap().command {
        Some(Command::Run(args)) => (args.model, args.command),
        other => panic!("{other:?}"),
    };
    let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
    assert_eq!(run("run kimi --model m -v"), (None, words("kimi --model m -v")));
    assert_eq!(run("run --model m -- kimi --help"), (Some("m".into()), words("kimi --help")));
    assert_eq!(run("run -- -odd"), (None, words("-odd")));
}

#[test]
fn trace_filters_and_exports() {
    let Some(Command::Trace(args)) = parse("trace --key a --outcome quota").unwrap().command else {
        panic!("no trace")
    };
    assert_eq!(args.filter.key.as_deref(), Some("a"));
    assert_eq!(args.filter.outcome, Some(kmi_core::outcome::Outcome::Quota));
    let line = "trace export --format csv --since 7d --until 2026-03-01 --key a -o x.csv";
    let Some(Command::Trace(TraceArgs { command: Some(TraceCommand::Export(args)), .. })) =
        parse(line).unwrap().command
    else {
        panic!("no export")
    };
    assert_eq!(args.format, ExportFormat::Csv);
    assert!(args.since.is_some() && args.until.is_some());
    assert_eq!(args.filter.key.as_deref(), Some("a"));
    assert_eq!(args.output.as_deref(), Some("x.csv".as_ref()));
}

#[test]
fn mistakes_get_one_line_and_one_hint() {
    let lines = [
        "statsu",
        "stat",
        "serv",
        "rotat",
        "help serv",
        "help keys ad",
        "help nonsense",
        "keys",
        "keys ad work",
        "keys add",
        "run",
        "config",
        "serve --lisen x",
        "auto of",
        "trace --outcome nope",
        "trace export --since yesterday",
        "verify --window 0",
        "-q -v status",
        "status --nonsense\u{1b}[31m",
    ];
    let told: Vec<String> = lines
        .iter()
        .filter(|line| parse(line).is_err())
        .map(|line| format!("kmi {}\n{}\n", line.escape_debug(), wrong(line)))
        .collect();
    assert!(told.iter().all(|text| text.lines().count() == 3), "{told:#?}");
    insta::assert_snapshot!(told.join("\n"), @r#"
    kmi statsu
    unrecognized subcommand 'statsu'
    did you mean `status`?

    kmi stat
    unrecognized subcommand 'stat'
    did you mean `status`?

    kmi serv
    unrecognized subcommand 'serv'
    did you mean `serve`?

    kmi rotat
    unrecognized subcommand 'rotat'
    did you mean `rotate`?

    kmi help serv
    unrecognized subcommand 'serv'
    did you mean `serve`?

    kmi help keys ad
    unrecognized subcommand 'ad'
    did you mean `add`?

    kmi help nonsense
    unrecognized subcommand 'nonsense'
    `kmi --help` shows what is possible

    kmi keys ad work
    unrecognized subcommand 'ad'
    did you mean `add`?

    kmi keys add
    `kmi keys add` needs <LABEL>
    `kmi keys add --help` shows what is possible

    kmi run
    `kmi run` needs <CMD>...
    `kmi run --help` shows what is possible

    kmi config
    `kmi config` needs a command
    `kmi config --help` shows what is possible

    kmi serve --lisen x
    unexpected argument '--lisen' found
    did you mean `--listen`?

    kmi auto of
    invalid value 'of' for '[SWITCH]'
    did you mean `off`?

    kmi trace --outcome nope
    invalid value 'nope' for '--outcome <OUTCOME>'
    possible values: auth, client_error, client_gone, connect_failed, ok, quota, rate_limited, shutdown, upstream_cut, upstream_error, upstream_protocol, upstream_timeout

    kmi trace export --since yesterday
    invalid value 'yesterday' for '--since <TIME>': expected a date, an RFC 3339 time, or a time ago such as 30m, 24h or 7d
    `kmi trace export --help` shows what is possible

    kmi verify --window 0
    invalid value '0' for '--window <N>': 0 is not in 1..18446744073709551615
    `kmi verify --help` shows what is possible

    kmi -q -v status
    the argument '--quiet' cannot be used with '--verbose...'
    `kmi status --help` shows what is possible

    kmi status --nonsense\u{1b}[31m
    unexpected argument '--nonsense' found
    `kmi status --help` shows what is possible
    "#);
}

#[test]
fn help_is_for_standard_output() {
    for line in ["--help", "-h", "--version", "keys --help", "trace export --help"] {
        assert!(matches!(parse(line), Err(UsageError::Info(_))), "{line}");
    }
    let help = |line: &str| parse(line).unwrap_err().to_string();
    assert_eq!(help("help"), help("--help"));
    assert_eq!(help("help trace export"), help("trace export --help"));
}
