//go:build !linux

package host

const pressureAdvice = ""

func (in *inspection) groups(Config) {}

func (in *inspection) processes(Config) {}

func (in *inspection) ownUnit(Config) string { return "" }
