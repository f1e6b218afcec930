//! The lab: runs notebooks with evcxr embedded. It uses the library as a stranger would.
//!
//! [`session`] evaluates cells; [`slot`] gives it a directory whose libraries are built; [`run`] takes a notebook through a session;
//! [`page`] makes a web page of what came out.

pub mod page;
pub mod run;
pub mod session;
pub mod slot;
