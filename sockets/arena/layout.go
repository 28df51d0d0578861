package arena

import (
	"fmt"
	"hash/fnv"
	"reflect"
)

// LayoutSum is of every field, size and place here: two programs in which it is the same can take over from each other.
// The number, Layout, is what people compare; the sum is what it stands for.
func LayoutSum() uint32 {
	sum := fnv.New32a()
	fmt.Fprintln(sum, pageSize, slotSize, endSize, areaStride, InSize, OutSize, upBytes, OutputSize, tableAt, BlockSize)
	var walk func(of reflect.Type)
	walk = func(of reflect.Type) {
		fmt.Fprintln(sum, of.Kind(), of.Size())
		switch of.Kind() {
		case reflect.Struct:
			for f := range of.Fields() {
				fmt.Fprintln(sum, f.Name, f.Offset)
				walk(f.Type)
			}
		case reflect.Array:
			walk(of.Elem())
		default:
		}
	}
	walk(reflect.TypeFor[Slot]())
	walk(reflect.TypeFor[End]())
	walk(reflect.TypeFor[header]())
	return sum.Sum32()
}
