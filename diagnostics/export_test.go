package diagnostics

// WithFaults returns c with a function that is called before each step that touches the disk.
func WithFaults(c Config, before func(step string) error) Config {
	c.before = func(s step) error { return before(string(s)) }
	return c
}

// Unsynced returns c without waiting for the disk.
func Unsynced(c Config) Config {
	c.unsynced = true
	return c
}
