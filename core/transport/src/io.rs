//! Gathering IO: what HTTP/2 writes is buffered and leaves in one system call at the end of each poll of the
//! connection.
