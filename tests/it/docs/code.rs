//! The Rust of the README is a file that is compiled, and its tests are run; here the two are compared. A difference is
//! mended on either side. Read `sdk/examples/wordcount`.

use anyhow::Result;
use longshore_tests::house;

use super::page::Page;

/// A source without its header.
fn as_shown(source: &str) -> String {
    let body: Vec<&str> = source.lines().skip_while(|line| line.starts_with("//!") || line.is_empty()).collect();
    format!("{}\n", body.join("\n"))
}

#[test]
fn the_readmes_rust_is_compiled_and_tested() -> Result<()> {
    let blocks = Page::open("README.md")?.blocks();
    let shown: Vec<&str> =
        blocks.iter().filter(|block| block.info.starts_with("rust")).map(|block| block.text.as_str()).collect();
    let read = |path: &str| std::fs::read_to_string(house::root()?.join(path)).map_err(anyhow::Error::from);
    let compiled = [read("sdk/examples/wordcount/src/lib.rs")?, read("sdk/examples/wordcount/src/main.rs")?]
        .map(|text| as_shown(&text));
    for (shown, compiled) in shown.iter().zip(&compiled) {
        assert_eq!(shown, compiled);
    }
    assert_eq!(shown.len(), compiled.len(), "a block of Rust that nothing compiles");
    Ok(())
}
