package main

// fill replaces every zero by its default, so that what is shown is what holds.
func (c *serveSettings) fill() {
	c.snapshot = c.snapshot.WithDefaults()
}
