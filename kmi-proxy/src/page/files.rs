//! The page's own files, built into kmi as they are.

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// What follows `…/trace`.
    pub(super) path: &'static str,
    /// Its content type.
    pub(super) kind: &'static str,
    /// Its text.
    pub(super) text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal $kind:ident $name:literal)*) => {
        &[$(File { path: $path, kind: $kind, text: include_str!(concat!("files/", $name)) }),*]
    };
}

/// Every file of the page.
pub(super) const FILES: &[File] = files! {
    ""              HTML   "page.html"
    "/page.css"     CSS    "page.css"
    "/icon.svg"     SVG    "icon.svg"
    "/main.js"      SCRIPT "main.js"
    "/charts.js"    SCRIPT "charts.js"
    "/detail.js"    SCRIPT "detail.js"
    "/dom.js"       SCRIPT "dom.js"
    "/feed.js"      SCRIPT "feed.js"
    "/filter.js"    SCRIPT "filter.js"
    "/keys.js"      SCRIPT "keys.js"
    "/pulse.js"     SCRIPT "pulse.js"
    "/requests.js"  SCRIPT "requests.js"
    "/summary.js"   SCRIPT "summary.js"
    "/table.js"     SCRIPT "table.js"
    "/token.js"     SCRIPT "token.js"
    "/words.js"     SCRIPT "words.js"
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_asked_for_is_there() {
        let asked = FILES.iter().flat_map(|file| {
            let text = file.text.split('"').map(|part| (file.path, part));
            text.filter_map(|(at, part)| match at {
                "" => part.strip_prefix("trace/").map(|name| (at, name)),
                _ => part.strip_prefix("./").map(|name| (at, name)),
            })
        });
        let mut count = 0;
        for (at, name) in asked {
            let found = FILES.iter().any(|file| file.path.strip_prefix('/') == Some(name));
            assert!(found, "{at:?} asks for {name}");
            count += 1;
        }
        assert!(count >= FILES.len() - 1, "only {count} were found");
    }

    #[test]
    fn text_never_becomes_markup_and_nothing_is_loaded_from_elsewhere() {
        for file in FILES {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!file.text.contains(word), "{:?} has {word}", file.path);
            }
            let foreign = file.text.matches("://").count();
            // The names of XML namespaces are no addresses.
            let names = file.text.matches("http://www.w3.org/").count();
            assert_eq!(foreign, names, "{:?} names another place", file.path);
            assert!(!file.text.contains(" style=\""), "{:?} has an inline style", file.path);
        }
    }
}
