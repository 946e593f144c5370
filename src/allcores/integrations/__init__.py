"""What other libraries need to know of allcores, one file each. Nothing here is imported by allcores itself."""
