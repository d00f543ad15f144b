from merge import *
f=sys.argv[1]; mode=sys.argv[2]
sd,lab=torch.load(f); k=int(lab.max())+1; h=110
Z,ZV,ZT=gsum(X,lab),gsum(XV,lab),gsum(XT,lab)
s=Z.std(0,keepdim=True).clamp_min(1e-3)
def shifted(x,dx,dy):
    return torch.roll(x.view(-1,28,28),(dx,dy),(1,2)).reshape(-1,784)
class Aug:
    def __init__(self): self.Zs=[gsum(shifted(X,a,b),lab)/s for a in (-1,0,1) for b in (-1,0,1)]; self.Zs=torch.stack(self.Zs)
    def __getitem__(self,i): return self.Zs[torch.randint(9,(len(i),)),i]
    def __len__(self): return len(X)
if mode=="aug":
  A=Aug()
  runs=[(A,1e-5,0),(A,1e-4,0)]
else:
  dn=mnist_mlp(init="torch"); dn.load_state_dict(torch.load(f"dense0.pt")); dn.eval()
  with torch.no_grad(): TL=dn(X)
  runs=[(Z/s,5e-4,0),(Z/s,5e-4,.9),(Z/s,1e-3,.0)]
for A,wd,al in runs:
    torch.manual_seed(0); r=mnist_mlp(hidden=(h,),init="torch"); r.fc1=nn.Linear(k,h)
    t=time.time(); fit(r,80,.1,wd=wd,x=A,bs=128,alpha=al,T=3.0,teacher=TL if al else None); print(mode,k,h,wd,al,"val",round(acc(r,ZV/s,YV),2),"test",round(acc(r,ZT/s,YT),2),"train",round(acc(r,(Z/s)[:20000],Y[:20000]),2),round(time.time()-t),flush=True)
