use super::*;

fn told(listen: &str, model: Option<&str>, env: &[(&str, &str)]) -> Variables {
    let token = Token::new(&[0xab; 32]);
    let endpoint =
        Endpoint { listen: listen.parse().unwrap(), base_path: "/kmi-rotor", token: &token };
    variables(&endpoint, model, &env.iter().copied().collect())
}

fn lines(variables: &Variables) -> String {
    write(variables, Shell::Sh).unwrap().replace(&"ab".repeat(32), "TOKEN")
}

fn value(variables: &Variables, name: &str) -> Option<String> {
    variables.expose().find(|(n, _)| *n == name).map(|(_, value)| value.to_owned())
}

#[test]
fn every_client_is_pointed_at_the_proxy() {
    let variables = told("127.0.0.1:54123", Some("kimi-for-coding"), &[]);
    insta::assert_snapshot!(lines(&variables), @"
    export KIMI_BASE_URL='http://127.0.0.1:54123/kmi-rotor/t/TOKEN/v1'
    export KIMI_API_KEY='TOKEN'
    export KIMI_MODEL_BASE_URL='http://127.0.0.1:54123/kmi-rotor/t/TOKEN/v1'
    export KIMI_MODEL_API_KEY='TOKEN'
    export OPENAI_BASE_URL='http://127.0.0.1:54123/kmi-rotor/t/TOKEN/v1'
    export OPENAI_API_KEY='TOKEN'
    export ANTHROPIC_BASE_URL='http://127.0.0.1:54123/kmi-rotor/t/TOKEN'
    export ANTHROPIC_AUTH_TOKEN='TOKEN'
    export NO_PROXY='127.0.0.1,localhost'
    export no_proxy='127.0.0.1,localhost'
    export KIMI_MODEL_NAME='kimi-for-coding'
    ");
    assert!(!format!("{variables:?}").contains("abab"));
}

#[test]
fn no_proxy_is_extended() {
    let both = |env: &[(&str, &str)]| {
        let variables = told("127.0.0.1:1", None, env);
        ["NO_PROXY", "no_proxy"].map(|name| value(&variables, name).unwrap())
    };
    assert_eq!(both(&[]), ["127.0.0.1,localhost"; 2]);
    assert_eq!(both(&[("no_proxy", "corp")]), ["corp,127.0.0.1,localhost"; 2]);
    assert_eq!(
        both(&[("NO_PROXY", "a"), ("no_proxy", "localhost, b")]),
        ["a,127.0.0.1,localhost", "localhost, b,127.0.0.1"]
    );
    assert_eq!(both(&[("NO_PROXY", "*")]), ["*"; 2]);
    let variables = told("[::1]:1", None, &[]);
    assert_eq!(value(&variables, "NO_PROXY").unwrap(), "127.0.0.1,localhost,::1");
}

#[test]
fn addresses_are_ones_to_connect_to() {
    let base = |listen| value(&told(listen, None, &[]), "ANTHROPIC_BASE_URL").unwrap();
    assert!(base("0.0.0.0:80").starts_with("http://127.0.0.1:80/kmi-rotor/t/"));
    assert!(base("[::]:80").starts_with("http://[::1]:80/kmi-rotor/t/"));
    assert!(base("[::1]:80").starts_with("http://[::1]:80/kmi-rotor/t/"));
}

#[test]
fn values_are_quoted_for_their_shell() {
    let odd = Variables(vec![("A", r"it's \ $HOME".into())]);
    assert_eq!(write(&odd, Shell::Sh).unwrap(), "export A='it'\\''s \\ $HOME'\n");
    assert_eq!(write(&odd, Shell::Fish).unwrap(), "set -gx A 'it\\'s \\\\ $HOME'\n");
    assert_eq!(write(&odd, Shell::Json).unwrap(), "{\n  \"A\": \"it's \\\\ $HOME\"\n}\n");
}
