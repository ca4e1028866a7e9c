package host

// PortableMemory is the source of ScopeHost on the systems that are not Linux.
var PortableMemory = readHostMemory
