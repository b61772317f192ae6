//! kmi
