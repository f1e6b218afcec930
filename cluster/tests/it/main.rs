//! The report on DataFusion alone, on Ballista inside this process, and on a real cluster: the library's, by bytes. Its tests are all in the module
//! `cluster`, by which they can be chosen among those of other packages.

mod cluster;
