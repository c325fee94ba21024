throw new Error("cannot import the thing");
