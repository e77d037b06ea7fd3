//! The yardstick of `bench/`: the server's own connection function, with an application that answers
//! constants.
//!
//! ```console
//! $ cargo run --release -p ringwood-server --example bare -- 7500
//! ```

mod constant;

use std::error::Error;
use std::net::Ipv4Addr;

use ringwood_server::Limits;
use ringwood_server::connection::{self, Stage};
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
    let (_stage, watched) = watch::channel(Stage::Serving);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let watched = watched.clone();
        tokio::spawn(async move {
            connection::serve(stream, Constant, &Limits::default(), watched).await;
        });
    }
}
