mod chunk;
mod head;
mod interim;
mod server;
mod split;
