//! The yardstick of `bench/`: the server's own connection function, with an application that answers
//! constants.
//!
//! ```console
//! $ cargo run --release -p ringwood-server --example bare -- 7500
//! ```

mod constant;

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ringwood_server::connection::{self, Stage};
use ringwood_server::{Answers, Limits};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::constant::Constant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = match std::env::args().nth(1) {
        Some(port) => port.parse()?,
        None => 0,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on {}", listener.local_addr()?);
    let limits = Limits::default();
    let answers = Arc::new(Answers::new(limits.answer_bytes));
    let (_stage, watched) = watch::channel(Stage::Serving);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (watched, limits) = (watched.clone(), limits.clone());
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            connection::serve(stream, Constant, &limits, &answers, watched).await;
        });
    }
}
