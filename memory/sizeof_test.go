package memory_test

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/headroom-rpc/headroom/memory"
)

type ring struct {
	next *ring
	_    [40]byte
}

type pair struct{ a, b *int64 }

type inner struct{ _, y int64 }

type lone struct{ p *int64 }

func TestSizeOf(t *testing.T) {
	const word = int64(unsafe.Sizeof(uintptr(0)))
	n := new(int64)
	one := &ring{}
	one.next = one
	three := &ring{next: &ring{next: &ring{}}}
	three.next.next.next = three
	buffer := make([]byte, 1000)
	nested := &struct {
		in  inner
		ptr *int64
	}{}
	nested.ptr = &nested.in.y
	text := strings.Repeat("x", 100)
	deep := []any{int64(1 << 40), text, []int32{1, 2, 3}}
	boxed := any(pair{n, n})
	var loaded atomic.Pointer[[100]byte]
	loaded.Store(new([100]byte))
	for _, tt := range []struct {
		name    string
		value   any
		bytes   int64
		objects int
	}{
		{"nil", nil, 0, 0},
		{"a number", int64(1 << 40), 8, 1},
		{"nil pointer", (*int64)(nil), 0, 0},
		{"pointer", n, 8, 1},
		{"string", text, 16 + 100, 2},
		{"empty string", "", 16, 1},
		{"slice by its capacity", make([]int64, 1, 10), 24 + 80, 2},
		{"a ring of one", one, 48, 1},
		{"a ring of three", three, 3 * 48, 3},
		{"two pointers to one", pair{n, n}, 16 + 8, 2},
		{"an interface twice", []any{boxed, boxed}, 24 + 32 + 16 + 8, 4},
		{"a struct that is one pointer", lone{n}, 8, 1},
		{"an array that is one pointer", [1]*int64{n}, 8, 1},
		{"overlapping slices", [][]byte{buffer[:600:600], buffer[400:]}, 24 + 48 + 1000, 3},
		{"adjacent slices", [][]byte{buffer[:600:600], buffer[600:]}, 24 + 48 + 1000, 4},
		{"a pointer into itself", nested, 24, 1},
		{"interfaces", deep, 24 + 48 + 8 + 16 + 100 + 24 + 12, 7},
		{"an array of strings", &[2]string{text, text}, 32 + 100, 2},
		{"empty structs", make([]struct{}, 100), 24, 1},
		{"atomic pointer", &loaded, word + 100, 2},
		{"what lies beyond the length", make([]*int64, 2, 4)[:1], 24 + 32, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if word != 8 {
				t.Skip("the sizes are those of 64 bits")
			}
			got := memory.SizeOf(tt.value)
			if got.Bytes != tt.bytes || got.Objects != tt.objects || len(got.Unseen) != 0 {
				t.Errorf("got %+v, want %d bytes in %d objects", got, tt.bytes, tt.objects)
			}
		})
	}
}

func TestSizeOfSyncMap(t *testing.T) {
	var m sync.Map
	for i := range 100 {
		m.Store(i, new([1000]byte))
	}
	if got := memory.SizeOf(&m); got.Bytes < 100*1000 || got.Bytes > 120*1000 || len(got.Unseen) != 0 {
		t.Errorf("%+v, want a little over 100,000 bytes", got)
	}
}

func TestSizeOfNeedsNoStackForAList(t *testing.T) {
	var list *ring
	for range 100_000 {
		list = &ring{next: list}
	}
	if got := memory.SizeOf(list); got.Bytes != 48*100_000 || got.Objects != 100_000 {
		t.Errorf("got %+v, want 100,000 of 48 bytes", got)
	}
}

func TestSizeOfNamesWhatItCannotSee(t *testing.T) {
	full := make(chan *ring, 10)
	full <- &ring{}
	captured := 0
	v := struct {
		full, empty chan *ring
		numbers     chan int64
		none        chan int
		closure     func()
		nothing     func()
		raw         unsafe.Pointer
	}{full, make(chan *ring, 1), make(chan int64, 3), nil, func() { captured++ }, nil, unsafe.Pointer(&captured)}
	v.numbers <- 1
	got := memory.SizeOf(&v)
	want := []memory.Unseen{{memory.UnseenChannels, 1}, {memory.UnseenPointers, 1}, {memory.UnseenClosures, 1}}
	if !slices.Equal(got.Unseen, want) {
		t.Errorf("unseen %v, want %v", got.Unseen, want)
	}
	if want := int64(7*8 + 3*96 + 10*8 + 8 + 3*8); got.Bytes != want {
		t.Errorf("%d bytes, want %d", got.Bytes, want)
	}
}

// The estimate for maps is held against the allocator.
func TestSizeOfMaps(t *testing.T) {
	for _, n := range []int{0, 1, 8, 100, 1000, 100_000} {
		t.Run(fmt.Sprintf("entries=%d", n), func(t *testing.T) {
			var got, real int64
			for range 5 { // what others leave may be freed meanwhile
				var before, after runtime.MemStats
				runtime.GC()
				runtime.GC() // a sync.Pool gives up what it has at the second
				runtime.ReadMemStats(&before)
				m := make(map[int64]*int64)
				for i := range int64(n) {
					m[i] = nil
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				got, real = memory.SizeOf(m).Bytes, int64(after.HeapAlloc)-int64(before.HeapAlloc)
				runtime.KeepAlive(m)
				if n < 1000 || math.Abs(float64(got-real)) <= 0.5*float64(real) {
					return
				}
			}
			t.Errorf("%d bytes, the allocator says %d", got, real)
		})
	}
	shared := map[string]*ring{"a": {}, "b": {}}
	one, two := memory.SizeOf(shared), memory.SizeOf([]map[string]*ring{shared, shared})
	if two.Bytes != one.Bytes+24+16 || one.Objects != 1+2+2 {
		t.Errorf("once %+v, twice %+v", one, two)
	}
	big := memory.SizeOf(map[int64][200]byte{1: {}}).Bytes
	if big < 200 || big > 8*200 {
		t.Errorf("a large value that lies outside: %d bytes", big)
	}
	if got := memory.SizeOf(map[any]any{"a": "b", 1.5: math.NaN(), math.NaN(): "c"}); got.Objects < 5 {
		t.Errorf("keys and values of interfaces: %+v", got)
	}
}

func FuzzSizeOf(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, links []byte) {
		nodes := make([]ring, len(links)+1)
		for i, to := range links {
			nodes[i].next = &nodes[int(to)%len(nodes)]
		}
		got := memory.SizeOf(nodes)
		if want := int64(24 + 48*len(nodes)); unsafe.Sizeof(uintptr(0)) == 8 && got.Bytes != want {
			t.Errorf("%d bytes, want %d", got.Bytes, want)
		}
	})
}

// Maps in maps take no stack: a program cannot survive when that ends.
func TestSizeOfMapsInMaps(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(4 << 20))
	const depth = 20_000
	var v any
	for range depth {
		v = map[any]any{"next": v}
	}
	if size := memory.SizeOf(v); size.Objects < depth || len(size.Unseen) > 0 {
		t.Errorf("%d objects, %v unseen; want at least %d and none", size.Objects, size.Unseen, depth)
	}
}
