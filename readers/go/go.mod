module btfpack

go 1.19
