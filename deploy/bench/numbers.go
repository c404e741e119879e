package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// median is the middle of the values, or of the two in the middle; of none, 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// quantile is the smallest value that is not below the share q of the ascending values.
func quantile(ascending []time.Duration, q float64) time.Duration {
	if len(ascending) == 0 {
		return 0
	}
	return ascending[max(int(math.Ceil(q*float64(len(ascending))))-1, 0)]
}

// thousands writes a whole number with a comma before each three digits.
func thousands(x float64) string {
	digits := strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	var b strings.Builder
	for i, digit := range digits {
		if i > 0 && digit != '-' && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}

// decimals returns a format with so many digits after the point.
func decimals(n int) func(float64) string {
	return func(x float64) string { return strconv.FormatFloat(x, 'f', n, 64) }
}

const bytesPerMegabyte = 1e6

func megabytes(bytes int64) float64 { return float64(bytes) / bytesPerMegabyte }

// millis writes a duration in milliseconds.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1000) }

// spread writes the median of values and, of several, in what bounds they are.
func spread(values []float64, format func(float64) string) string {
	text := format(median(values))
	if len(values) > 1 {
		text += fmt.Sprintf(" (%s..%s)", format(slices.Min(values)), format(slices.Max(values)))
	}
	return text
}

// trimmed writes a number without needless digits.
func trimmed(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
