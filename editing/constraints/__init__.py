"""What a correction demands, as `l_e`: of a class, of a real output, of a sentence that is written."""
