let word () = "part"
