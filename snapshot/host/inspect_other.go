//go:build !linux

package host

const pressureAdvice = ""

func (in *inspection) groups(Config) {}

func (in *inspection) processes(Config) {}

func (in *inspection) absent(*Host) {}

func ownUnit(Config, string) string { return "" }
