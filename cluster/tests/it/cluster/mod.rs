mod local;
mod models;
mod processes;
mod standalone;
