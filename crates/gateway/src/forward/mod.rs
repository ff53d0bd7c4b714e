//! Carries the bytes of an open grant. What must never happen here: a byte for an address without an open grant, a
//! connection that outlives its window, more claims than the grant has.
