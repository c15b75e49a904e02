//! The documents' own words, tried out: every command in them is run as it is printed, every consumer runs on a real
//! Apache Kafka, and every other command that is mentioned exists.
//!
//! What a document tells somebody to fill in is filled in (`stage.rs`): the portal is the simulator's, the broker the
//! test's. A command that cannot be run here carries a mark that readers see too (`blocks.rs`). Any other command that
//! no step of the story runs makes it fail.

mod blocks;
mod consumers;
mod mentions;
mod operators;
mod portal;
mod stage;
#[path = "../support/mod.rs"]
mod support;

use blocks::Documents;
use stage::Stage;

/// Documents for users, and for those who change the code, beside all in `docs`.
const DOCUMENTS: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "charts/b24kafka/README.md"];
/// Commands that something else runs: the command, the file that does, and the line there.
const ELSEWHERE: [(&str, &str, &str); 1] = [("make test", ".ci/run", "make test")];

/// The names of all documents.
fn documents() -> Vec<String> {
    let docs = std::fs::read_dir(support::java::root().join("docs")).expect("a directory");
    let docs = docs.map(|entry| format!("docs/{}", entry.expect("a file").file_name().to_string_lossy()));
    let mut all: Vec<String> = docs.filter(|name| name.ends_with(".md")).collect();
    assert!(all.len() > 5, "the documents were found: {all:?}");
    all.extend(DOCUMENTS.map(str::to_owned));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_documents_does_what_it_says() {
    let mut documents = Documents::read(&documents());
    let mut stage = Stage::set().await;
    portal::first(&mut stage, &mut documents).await;
    operators::look(&mut stage, &mut documents);
    consumers::follow(&mut stage, &mut documents).await;
    portal::end(&mut stage);
    for (command, file, line) in ELSEWHERE {
        let text = std::fs::read_to_string(support::java::root().join(file)).expect("a file of the repository");
        assert!(text.lines().any(|other| other == line), "{file} does not run {command}");
        documents.command(command);
    }
    let left = documents.left();
    assert!(left.is_empty(), "nothing runs these commands:\n{}", left.join("\n"));
}
