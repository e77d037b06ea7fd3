//! stub
/// stub
#[derive(Debug)]
pub struct LatchedDisk;
