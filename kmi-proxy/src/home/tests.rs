use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn fresh() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::new(dir.path().join("deep/home"));
    (dir, home)
}

/// Makes a secret file by hand, as a backup tool or an editor would.
fn put(path: &Path, content: &str, mode: u32) {
    create_private_dir(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn directories_can_be_elsewhere() {
    let home = Home::new("/h").with_dirs(Path::new("keys"), Path::new("/var/kmi"));
    assert_eq!(home.auths_dir(), Path::new("/h/keys"));
    assert_eq!(home.token_file(), Path::new("/var/kmi/token"));
    assert_eq!(home.socket(), Path::new("/h/run/kmi.sock"));
}

#[test]
fn everything_that_is_made_is_private() {
    let (_dir, home) = fresh();
    home.create().unwrap();
    home.token().unwrap();
    home.secret().unwrap();
    for dir in [home.root(), home.auths_dir(), home.state_dir(), &home.run_dir()] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    assert_eq!(mode(home.root().parent().unwrap()), 0o700);
    assert_eq!(mode(&home.token_file()), 0o600);
    assert_eq!(mode(&home.secret_file()), 0o600);
    let left: Vec<_> = fs::read_dir(home.state_dir()).unwrap().collect();
    assert_eq!(left.len(), 2, "no draft is left behind: {left:?}");
}

#[test]
fn a_directory_that_exists_keeps_its_mode() {
    let (_dir, home) = fresh();
    fs::create_dir_all(home.root()).unwrap();
    fs::set_permissions(home.root(), Permissions::from_mode(0o750)).unwrap();
    home.create().unwrap();
    assert_eq!(mode(home.root()), 0o750);
}

#[test]
fn the_token_is_made_once_and_stays() {
    let (_dir, home) = fresh();
    assert!(home.existing_token().unwrap().is_none());
    let first = home.token().unwrap();
    assert_eq!(first.expose().len(), 64);
    assert_eq!(home.token().unwrap().expose(), first.expose());
    assert!(home.existing_token().unwrap().unwrap().matches(first.expose().as_bytes()));
    let (_dir, other) = fresh();
    assert_ne!(other.token().unwrap().expose(), first.expose());
}

#[test]
fn many_that_start_at_once_get_one_token() {
    let (_dir, home) = fresh();
    let start = std::sync::Barrier::new(16);
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    home.token().unwrap().expose().to_owned()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
}

#[test]
fn only_the_token_matches() {
    let token = Token::new(&[7; 32]);
    assert!(token.matches(token.expose().as_bytes()));
    for wrong in ["", "07", &"0".repeat(64), &format!("{}0", token.expose())] {
        assert!(!token.matches(wrong.as_bytes()), "{wrong}");
    }
    assert_eq!(format!("{token:?}"), "Token(…)");
}

#[test]
fn a_final_newline_may_be_missing() {
    let (_dir, home) = fresh();
    put(&home.token_file(), &"ab".repeat(32), 0o600);
    assert_eq!(home.token().unwrap().expose(), "ab".repeat(32));
}

#[test]
fn damaged_files_are_refused_and_kept() {
    let (_dir, home) = fresh();
    let long = "ab".repeat(33);
    let twice = format!("{0}\n{0}\n", "ab".repeat(32));
    for content in ["", "\n", "abcd\n", &"zz".repeat(32), &long, &twice] {
        put(&home.token_file(), content, 0o600);
        let error = home.token().unwrap_err();
        assert!(matches!(error, HomeError::Damaged { .. }), "{content:?}: {error}");
        assert!(error.hint().contains("remove it"));
        assert_eq!(fs::read_to_string(home.token_file()).unwrap(), content);
    }
    fs::remove_file(home.token_file()).unwrap();
    fs::create_dir(home.token_file()).unwrap();
    assert!(matches!(home.token().unwrap_err(), HomeError::Damaged { .. }));
}

#[test]
fn a_pipe_in_place_of_the_token_does_not_hang() {
    let (_dir, home) = fresh();
    home.create().unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, home.token_file(), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
    assert!(matches!(home.token().unwrap_err(), HomeError::Damaged { .. }));
}

#[test]
fn files_open_to_others_are_refused() {
    let (_dir, home) = fresh();
    for mode in [0o640, 0o604, 0o620, 0o644] {
        put(&home.secret_file(), &"ab".repeat(32), mode);
        let error = home.secret().unwrap_err();
        assert!(matches!(error, HomeError::Exposed { .. }), "{mode:o}: {error}");
        assert!(error.hint().starts_with("chmod 600 "));
    }
}

#[test]
fn a_home_that_cannot_be_made_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Home::new(file.join("home")).create().unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}
