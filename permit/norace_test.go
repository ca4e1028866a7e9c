//go:build !race

package permit_test

const raceEnabled = false
