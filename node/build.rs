//! Rebuilds the program when the page was rebuilt; never builds the page itself (that is npm's work, see the Makefile).

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A debug program reads the page from web-ui/dist when it is asked for it; only a release program carries it.
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-ui/dist");
    // Cargo runs this again at each build while a watched path is missing, and each run compiles the crate anew. An
    // empty folder (git ignores it) ends that, and its time stamp tells when the page appears.
    if let Err(error) = std::fs::create_dir_all(&page) {
        println!(
            "cargo::warning=no folder for the page at {}: {error}",
            page.display()
        );
    }
    println!("cargo::rerun-if-changed={}", page.display());
    if !page.join("index.html").is_file() {
        println!("cargo::warning=built without the page: run `make web`, then build again");
    }
}
