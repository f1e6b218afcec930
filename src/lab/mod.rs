//! The lab: runs notebooks with evcxr embedded, headless and as a Jupyter kernel. It uses the library as a stranger would.
//!
//! [`template`] builds the notebooks' libraries once; a [`slot`] is a clone of it for one session; a [`session`] evaluates cells in
//! it, which run in a [`child`] process whose [`output`] is taken apart; [`steering`] stops them. Two fronts use it: [`run`] takes a [`notebook`] file through
//! a session, and [`page`] makes a web page of it; [`kernel`] answers Jupyter, which finds it by what [`spec`] installs.

pub mod cell_error;
pub mod child;
pub mod kernel;
pub mod notebook;
pub mod output;
pub mod page;
pub mod processes;
pub mod run;
pub mod session;
pub mod slot;
pub mod spec;
pub mod steering;
pub mod template;
pub mod warm;
