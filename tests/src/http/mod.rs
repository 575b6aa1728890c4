//! What tests of layer 7 need besides the rest: clients and servers that are looked at closely.

pub mod answer;
pub mod backend;
pub mod certificates;
pub mod curl;
pub mod load;
pub mod process;
pub mod raw;
pub mod shop;
pub mod websocket;
