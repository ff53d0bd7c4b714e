//! The `console` blocks of a chapter.

/// A command and what the chapter says that it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its words.
    pub(crate) words: Vec<String>,
    /// One line for its standard input.
    pub(crate) input: String,
    /// What follows it, up to the next command.
    pub(crate) output: String,
}

/// The commands of a chapter that are run (`$ `) and those that need root (`# `), in order.
pub(crate) fn read(chapter: &str) -> (Vec<Shown>, Vec<String>) {
    let (mut run, mut roots) = (Vec::<Shown>::new(), Vec::new());
    let mut inside = false;
    for line in chapter.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) if line.starts_with("$ ") => run.push(command(&line[2..])),
            (true, line) if line.starts_with("# ") => roots.push(line[2..].to_owned()),
            (true, line) => {
                let last = run.last_mut().expect("output without a command");
                last.output.push_str(line);
                last.output.push('\n');
            }
            (false, _) => {}
        }
    }
    (run, roots)
}

fn command(line: &str) -> Shown {
    let (line, input) = line.split_once(" <<< ").unwrap_or((line, ""));
    Shown { words: words(line), input: input.to_owned(), output: String::new() }
}

/// Words between spaces; one that begins with a double quote goes on to the next one.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), line.trim());
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("a quote that ends"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// Whether a text is as it is shown, where `...` stands for anything.
pub(crate) fn is_as_shown(text: &str, shown: &str) -> bool {
    let pieces: Vec<&str> = shown.trim_end().split("...").collect();
    let (first, rest) = pieces.split_first().expect("split gives a piece");
    let Some(mut text) = text.trim_end().strip_prefix(first) else { return false };
    let Some((last, between)) = rest.split_last() else { return text.is_empty() };
    for piece in between {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(last)
}

#[test]
fn blocks_are_read_and_compared() {
    let chapter = "x\n```console\n# apt\n$ kmsgate a \"b c\" <<< d e\nf ... g\n...\n$ curl {\"x\":1}\n```\n$ no\n";
    let (run, roots) = read(chapter);
    assert_eq!(roots, ["apt"]);
    assert_eq!(run[0].words, ["kmsgate", "a", "b c"]);
    assert_eq!((run[0].input.as_str(), run[0].output.as_str()), ("d e", "f ... g\n...\n"));
    assert_eq!(run[1].words, ["curl", "{\"x\":1}"]);
    assert!(is_as_shown("f 1 g\nh\n", "f ... g\n...\n") && is_as_shown("a", "a\n") && is_as_shown("abc", "a...c"));
    assert!(!is_as_shown("ab", "a") && !is_as_shown("abd", "a...c") && !is_as_shown("xa", "a..."));
}
