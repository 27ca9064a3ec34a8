//! Rebuilds the program when the page was rebuilt; never builds the page itself (that is npm's work, see the Makefile).

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-ui/dist");
    // A debug program made while there is no such folder would not find the page that is built later. And Cargo runs this
    // again at each build while a watched path is missing, and each run compiles the crate anew. An empty folder (git
    // ignores it) ends both, and its time stamp tells when the page appears.
    if let Err(error) = std::fs::create_dir_all(&page) {
        println!(
            "cargo::warning=no folder for the page at {}: {error}",
            page.display()
        );
    }
    // A debug program reads the page from there when it is asked for it; only a release program carries it.
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    println!("cargo::rerun-if-changed={}", page.display());
    if !page.join("index.html").is_file() {
        println!("cargo::warning=built without the page: run `make web`, then build again");
    }
}
