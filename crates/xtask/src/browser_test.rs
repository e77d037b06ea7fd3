//! The browser test: a page from elsewhere, whose name suddenly means this machine, asks the server for what
//! it stores. A real browser does the asking (headless Chromium).
//!
//! A relay stands where the browser goes: it answers `/` with the attacker's page, as he did before he
//! changed what his name means, and passes everything else on to the server, byte for byte.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::server::Server;
use crate::{binary, http};

/// What it does, and notes in its document.
const PAGE: &str = r#"<html><body><p id="answers">nothing</p><script>
(async () => {
  const ask = async (path, options) => {
    try {
      const answer = await fetch(path, options);
      return [answer.status, await answer.text()];
    } catch (error) { return [0, String(error)]; }
  };
  const answers = [
    await ask('/kv/secret'),
    await ask('/kv/owned', { method: 'PUT', body: 'by a page' }),
    await ask('/v1/kv'),
    await ask('/v1/namespaces'),
  ];
  document.getElementById('answers').textContent = btoa(JSON.stringify(answers));
})();
</script></body></html>"#;
/// A page that somebody stored: it would say so if its script ran.
const STORED: &str = "<html><body><p id=\"answers\">still</p><script>\
    document.getElementById('answers').textContent = 'ran';</script></body></html>";

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The browser.
    #[arg(long, default_value = "chromium")]
    browser: String,
    /// The profile to build the binary with.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Runs the test, and prints what the browser was answered.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let binary = binary::build(root, &arguments.profile)?;
    let directory = tempfile::tempdir()?;
    let server = Server::start(&binary, directory.path())?;
    let agent = http::agent();
    let url = |path: &str| format!("{}{path}", server.url());
    agent.put(url("/kv/secret")).send("of the house")?;
    agent
        .put(url("/kv/page"))
        .content_type("text/html")
        .send(STORED)?;
    let browser = Browser {
        program: &arguments.browser,
        directory: directory.path(),
        port: relay(server.url().trim_start_matches("http://").parse()?)?,
    };

    let foreign = answers(&browser.show("evil.example", "/")?)?;
    let taken = agent.get(url("/kv/owned")).call()?.status().as_u16();
    // The same page under a name of the server's own: it shows that the test can fail.
    let own = answers(&browser.show("localhost", "/")?)?;
    let stored = browser.show("localhost", "/kv/page")?;
    println!(
        "{:#}",
        json!({ "foreign": foreign, "own": own, "stored_page_ran": !stored.contains("still") })
    );
    let refused = |answer: &Value| answer[0].as_u64().is_some_and(|status| status >= 400);
    ensure!(
        foreign.iter().all(refused) && taken == 404,
        "a page under a foreign name came through"
    );
    ensure!(
        own[0] == json!([200, "of the house"]),
        "a page under an own name reads nothing: this test shows nothing"
    );
    ensure!(stored.contains("still"), "a stored page ran its script");
    Ok(())
}

struct Browser<'a> {
    program: &'a str,
    directory: &'a Path,
    port: u16,
}

impl Browser<'_> {
    /// The document at `path` of `host`, which means this machine, once its scripts have run.
    fn show(&self, host: &str, path: &str) -> Result<String> {
        let output = Command::new(self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .args(["--disable-background-networking", "--no-proxy-server"])
            .arg("--virtual-time-budget=5000")
            .arg("--host-resolver-rules=MAP * 127.0.0.1")
            .arg(format!(
                "--user-data-dir={}",
                self.directory.join("browser").display()
            ))
            .arg(format!("http://{host}:{}{path}", self.port))
            .output()
            .with_context(|| format!("{} does not start", self.program))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What the page was answered.
fn answers(document: &str) -> Result<Vec<Value>> {
    let (_, rest) = document
        .split_once("id=\"answers\">")
        .with_context(|| format!("the page was not shown: {document}"))?;
    let encoded = rest.split('<').next().unwrap_or_default();
    let decoded = BASE64
        .decode(encoded)
        .ok()
        .with_context(|| format!("the page did not ask: {document}"))?;
    Ok(serde_json::from_slice(&decoded)?)
}

/// Starts the relay; returns its port.
fn relay(server: SocketAddr) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream, server));
        }
    });
    Ok(port)
}

/// One connection. It ends where the browser ends it; errors are its end too.
fn serve(mut browser: TcpStream, server: SocketAddr) -> io::Result<()> {
    browser.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut head = [0; 6];
    browser.read_exact(&mut head)?;
    if &head == b"GET / " {
        // The rest of its head is of no interest, but must be read before the end.
        let _ = browser.read(&mut [0; 16 << 10])?;
        let len = PAGE.len();
        write!(
            browser,
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len}\r\n\
             connection: close\r\n\r\n{PAGE}"
        )?;
        return browser.shutdown(Shutdown::Write);
    }
    let mut upstream = TcpStream::connect(server)?;
    upstream.write_all(&head)?;
    let (mut from_server, mut to_browser) = (upstream.try_clone()?, browser.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_browser);
        let _ = to_browser.shutdown(Shutdown::Both);
    });
    io::copy(&mut browser, &mut upstream)?;
    upstream.shutdown(Shutdown::Write)
}
