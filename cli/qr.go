package cli

import (
	"bufio"
	"io"
	"os"

	"rsc.io/qr"
)

// quietZone is the light border of a QR code, in modules (ISO/IEC 18004 asks for four).
const quietZone = 4

// sizeQR is how many columns and lines writeQR needs for a text.
func sizeQR(text string) (width, height int) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return 0, 0
	}
	n := code.Size + 2*quietZone
	if !speaksUTF8(os.Getenv) {
		return 2 * n, n
	}
	return n, (n + 1) / 2
}

// writeQR draws a text as a QR code, two rows of modules in a line. Light modules are
// the drawn ones, for a terminal with a dark background; phones read both. Where the locale
// has no UTF-8 and so no half blocks, modules are inverse blanks.
func writeQR(w io.Writer, text string) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return err
	}
	light := func(x, y int) bool {
		inside := x >= 0 && y >= 0 && x < code.Size && y < code.Size
		return !inside || !code.Black(x, y)
	}
	out := bufio.NewWriter(w)
	if !speaksUTF8(os.Getenv) {
		for y := -quietZone; y < code.Size+quietZone; y++ {
			for x := -quietZone; x < code.Size+quietZone; x++ {
				if light(x, y) {
					out.WriteString("\x1b[7m  \x1b[27m") // inverse
				} else {
					out.WriteString("  ")
				}
			}
			out.WriteByte('\n')
		}
		return out.Flush()
	}
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		for x := -quietZone; x < code.Size+quietZone; x++ {
			upper, lower := light(x, y), light(x, y+1)
			switch {
			case upper && lower:
				out.WriteRune('█')
			case upper:
				out.WriteRune('▀')
			case lower:
				out.WriteRune('▄')
			default:
				out.WriteByte(' ')
			}
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}
