mod chunk;
mod head;
mod server;
mod split;
