mod chunk;
mod head;
